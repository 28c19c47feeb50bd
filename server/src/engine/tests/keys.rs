//! Publishing with a key: the same publish twice is one, wherever it comes in.

use super::seqs;
use crate::engine::settings::{KeyWindow, Settings};
use crate::engine::testing::World;

fn publish(world: &mut World, client: usize, topic: &str, key: &str) -> String {
    let command = format!(r#"{{"action":"publish","topic":"{topic}","data":1,"key":"{key}"}}"#);
    world.say(client, &command);
    let mut texts = world.texts(client);
    assert_eq!(texts.len(), 1, "{texts:?}");
    texts.remove(0)
}

fn published(topic: &str, seq: u64) -> String {
    format!(r#"{{"type":"published","topic":"{topic}","epoch":"e1","seq":{seq}}}"#)
}

#[test]
fn a_key_is_known_at_the_topics_owner_whichever_shard_it_comes_in_through() {
    let keys = KeyWindow {
        count: 4,
        age_ms: 1000,
    };
    let settings = Settings {
        keys,
        ..Settings::default()
    };
    let mut world = World::new(3, settings);
    let publishers = [0, 1, 2].map(|shard| world.connect_ws(shard));
    let reader = world.connect_ws(1);
    for owner in 0..3 {
        let (topic, other) = (world.topic_of("a.", owner), world.topic_of("b.", owner));
        let subscribe = format!(r#"{{"action":"subscribe","topics":["{topic}","{other}"]}}"#);
        world.say(reader, &subscribe);
        world.texts(reader);
        for publisher in publishers {
            assert_eq!(
                publish(&mut world, publisher, &topic, "k"),
                published(&topic, 1)
            );
        }
        // The same key on another topic of the same owner is another key.
        assert_eq!(
            publish(&mut world, publishers[0], &other, "k"),
            published(&other, 1)
        );
        assert_eq!(seqs(&world.texts(reader), "update"), [1, 1]);
        // Two more fill the window, and a third pushes the first out.
        for key in ["l", "m"] {
            publish(&mut world, publishers[1], &other, key);
        }
        assert_eq!(
            publish(&mut world, publishers[2], &topic, "k"),
            published(&topic, 1)
        );
        publish(&mut world, publishers[1], &other, "n");
        assert_eq!(
            publish(&mut world, publishers[2], &topic, "k"),
            published(&topic, 2)
        );
        // After its age the same publish is a new one.
        world.pass_ms(999);
        assert_eq!(
            publish(&mut world, publishers[0], &topic, "k"),
            published(&topic, 2)
        );
        world.pass_ms(1);
        assert_eq!(
            publish(&mut world, publishers[0], &topic, "k"),
            published(&topic, 3)
        );
        world.texts(reader);
    }
}
