//! Which topics there are and who listens to what. Assignment depends only on the seed and the
//! number of the connection, so a run can be repeated exactly.

use std::collections::HashMap;

/// The topics of a run, by number and by name.
#[derive(Debug)]
pub struct Topics {
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Topics {
    /// Numbers the names in their order. A name that comes twice keeps its first number.
    pub fn new(names: impl IntoIterator<Item = String>) -> Topics {
        let mut topics = Topics {
            names: Vec::new(),
            numbers: HashMap::new(),
        };
        for name in names {
            let name = name.into_boxed_str();
            if !topics.numbers.contains_key(&name) {
                topics
                    .numbers
                    .insert(name.clone(), topics.names.len() as u32);
                topics.names.push(name);
            }
        }
        topics
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of a topic of this table.
    pub fn name(&self, topic: u32) -> &str {
        &self.names[topic as usize]
    }

    /// All names in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The number of a name. `hint` is tried first: a fan-out arrives as a run of frames of one
    /// topic.
    pub fn find(&self, name: &str, hint: u32) -> Option<u32> {
        if self
            .names
            .get(hint as usize)
            .is_some_and(|hinted| **hinted == *name)
        {
            return Some(hint);
        }
        self.numbers.get(name).copied()
    }
}

/// Topics that every connection subscribes to at the same time: so many of a range.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Number of the range's first topic; ranges of later batches lie behind it.
    pub first_topic: u32,
    /// How connections choose in the range.
    pub popularity: Popularity,
    /// Topics of each connection.
    pub count: usize,
}

/// How connections choose among the topics.
#[derive(Clone, Debug)]
pub enum Popularity {
    /// In turn: every topic gets the same number of subscriptions, give or take one.
    Even {
        /// How many topics there are.
        topics: u32,
    },
    /// Topic by topic, in an order that spreads every stretch of it evenly over the range: as often as in turn, but no
    /// stretch has more than its share of the first ones, which are the popular ones where subscribers go by Zipf's law.
    Dispersed {
        /// How many topics there are.
        topics: u32,
        /// From one to the next; has no divisor in common with `topics`.
        stride: u32,
    },
    /// The r-th topic is chosen with a weight of `1 / r^s` (Zipf's law).
    Zipf {
        /// Running sums of the weights; the last one is their total.
        sums: Box<[f64]>,
    },
}

impl Popularity {
    /// `exponent` of Zipf's law, or `None` for an even spread, over at least one topic.
    pub fn new(topics: u32, exponent: Option<f64>) -> Popularity {
        let Some(exponent) = exponent else {
            return Popularity::Even { topics };
        };
        let mut sum = 0.0;
        let sums = (1..=topics).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Popularity::Zipf {
            sums: sums.collect(),
        }
    }

    /// Every topic as often as every other, dispersed.
    pub fn dispersed(topics: u32) -> Popularity {
        let stride = stride(topics);
        Popularity::Dispersed { topics, stride }
    }

    /// The `count` different topics of connection number `connection`, put into `chosen`, which is
    /// cleared first. `count` may not exceed the number of topics.
    pub fn choose(&self, seed: u64, connection: u64, count: usize, chosen: &mut Vec<u32>) {
        chosen.clear();
        match self {
            Popularity::Even { topics } => {
                let first = connection.wrapping_mul(count as u64);
                chosen.extend((0..count as u64).map(|n| ((first + n) % u64::from(*topics)) as u32));
            }
            Popularity::Dispersed { topics, stride } => {
                let (topics, stride) = (u64::from(*topics), u64::from(*stride));
                let first = (connection % topics) * count as u64;
                chosen.extend((0..count as u64).map(|n| ((first + n) * stride % topics) as u32));
            }
            Popularity::Zipf { sums } => {
                // Neighbouring seeds would begin with related numbers, so the two are spread first.
                let mut random =
                    fastrand::Rng::with_seed(seed ^ connection.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                while chosen.len() < count {
                    let topic = next_free(chosen, draw(sums, random.f64()), sums.len() as u32);
                    chosen.push(topic);
                }
            }
        }
    }
}

/// The golden section of `topics`, or the next number above it that has no divisor in common with it: multiples of it
/// leave gaps of few different lengths wherever they stop (three-distance theorem).
fn stride(topics: u32) -> u32 {
    let golden = (f64::from(topics) * 0.618_033_988_749_895) as u32;
    (golden.max(1)..)
        .find(|stride| divisor(*stride, topics) == 1)
        .unwrap_or(1)
}

/// The greatest common divisor.
fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// The topic on which `fraction` (0 to 1) of the weight falls.
fn draw(sums: &[f64], fraction: f64) -> u32 {
    let total = sums.last().copied().unwrap_or(0.0);
    let rank = sums.partition_point(|sum| *sum <= fraction * total);
    rank.min(sums.len().saturating_sub(1)) as u32
}

/// `topic`, or the next one after it that is not yet chosen: a connection subscribes to a topic
/// once.
fn next_free(chosen: &[u32], mut topic: u32, topics: u32) -> u32 {
    while chosen.contains(&topic) {
        topic = (topic + 1) % topics;
    }
    topic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(popularity: &Popularity, topics: usize, connections: u64, each: usize) -> Vec<usize> {
        let mut counts = vec![0; topics];
        let mut chosen = Vec::new();
        for connection in 0..connections {
            popularity.choose(42, connection, each, &mut chosen);
            assert_eq!(chosen.len(), each);
            let mut distinct = chosen.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(
                distinct.len(),
                each,
                "connection {connection} chose a topic twice: {chosen:?}"
            );
            chosen.iter().for_each(|topic| counts[*topic as usize] += 1);
        }
        counts
    }

    #[test]
    fn an_even_spread_differs_by_at_most_one() {
        for (topics, connections, each) in [
            (1, 10, 1),
            (7, 100, 1),
            (7, 100, 3),
            (10, 3, 10),
            (100, 7, 2),
        ] {
            let counts = spread(
                &Popularity::new(topics, None),
                topics as usize,
                connections,
                each,
            );
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{topics} topics: {counts:?}");
        }
    }

    #[test]
    fn a_dispersed_order_takes_each_topic_once_and_every_stretch_from_everywhere() {
        for topics in [1, 2, 3, 10, 97, 10_000] {
            let popularity = Popularity::dispersed(topics);
            let counts = spread(&popularity, topics as usize, u64::from(topics), 1);
            assert!(counts.iter().all(|count| *count == 1), "{topics} topics");
        }
        // A hundred in a row of ten thousand: no hundredth of the range gets none or more than two.
        let popularity = Popularity::dispersed(10_000);
        let (mut counts, mut chosen) = ([0; 50], Vec::new());
        for update in 500..600 {
            popularity.choose(0, update, 1, &mut chosen);
            counts[chosen[0] as usize / 200] += 1;
        }
        assert!(
            counts.iter().all(|count| (1..=3).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn zipf_gives_each_rank_its_share() {
        let topics = 10;
        let counts = spread(&Popularity::new(topics, Some(1.0)), 10, 100_000, 1);
        let total: f64 = (1..=topics).map(|rank| 1.0 / f64::from(rank)).sum();
        for (rank, count) in (1..=topics).zip(counts) {
            let expected = 100_000.0 / f64::from(rank) / total;
            let off = (count as f64 - expected).abs();
            assert!(
                off < 5.0 * expected.sqrt(),
                "rank {rank}: {count}, expected {expected:.0}"
            );
        }
    }

    #[test]
    fn a_connection_that_takes_every_topic_takes_each_once_under_zipf() {
        assert_eq!(
            spread(&Popularity::new(50, Some(2.0)), 50, 20, 50),
            vec![20; 50]
        );
    }

    #[test]
    fn the_same_seed_chooses_the_same_topics() {
        let popularity = Popularity::new(1000, Some(0.9));
        let (mut one, mut two) = (Vec::new(), Vec::new());
        popularity.choose(1, 77, 5, &mut one);
        popularity.choose(1, 77, 5, &mut two);
        assert_eq!(one, two);
        popularity.choose(2, 77, 5, &mut two);
        assert_ne!(one, two);
    }

    #[test]
    fn a_name_is_found_with_a_right_a_wrong_and_an_impossible_hint() {
        let topics = Topics::new(["a", "b", "a", "c"].map(String::from));
        assert_eq!(topics.len(), 3);
        for hint in [0, 1, 2, 9] {
            assert_eq!(topics.find("b", hint), Some(1));
            assert_eq!(topics.find("d", hint), None);
        }
    }
}
