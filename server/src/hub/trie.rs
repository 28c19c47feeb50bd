//! Filters by segment: finds all that cover a name in one walk, whatever other filters there are.
//!
//! Owners keep the filters of all shards in one, a listening shard its own. Matching happens when a topic or a filter
//! is born, never when something is published.

use std::collections::HashMap;

use fanfare_wire::topic;
use slab::Slab;

use super::filters::FilterId;

const NONE: u32 = u32::MAX;

/// What follows one segment of a filter.
#[derive(Debug)]
struct Node {
    /// By a segment of a name.
    named: HashMap<Box<str>, u32>,
    /// By `*`, any segment.
    any: u32,
    /// The filter that ends here.
    here: Option<FilterId>,
    /// The filter that ends here with `>`.
    rest: Option<FilterId>,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            named: HashMap::new(),
            any: NONE,
            here: None,
            rest: None,
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any == NONE && self.here.is_none() && self.rest.is_none()
    }

    fn child(&self, segment: &str) -> Option<u32> {
        if segment == "*" {
            return (self.any != NONE).then_some(self.any);
        }
        self.named.get(segment).copied()
    }
}

/// Filters, each under a number of its keeper's.
#[derive(Debug)]
pub struct Trie {
    nodes: Slab<Node>,
    root: u32,
}

impl Default for Trie {
    fn default() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::default()) as u32;
        Trie { nodes, root }
    }
}

impl Trie {
    /// Adds `filter`, which is none of those that are in it.
    pub fn insert(&mut self, filter: &str, id: FilterId) {
        let (path, rest) = split_rest(filter);
        let mut at = self.root;
        for segment in path {
            at = match self.nodes[at as usize].child(segment) {
                Some(child) => child,
                None => {
                    let child = self.nodes.insert(Node::default()) as u32;
                    let node = &mut self.nodes[at as usize];
                    if segment == "*" {
                        node.any = child;
                    } else {
                        node.named.insert(segment.into(), child);
                    }
                    child
                }
            };
        }
        let node = &mut self.nodes[at as usize];
        if rest {
            node.rest = Some(id);
        } else {
            node.here = Some(id);
        }
    }

    /// Takes `filter` out, and every node that nothing else needs.
    pub fn remove(&mut self, filter: &str) {
        let (segments, rest) = split_rest(filter);
        let mut path = Vec::new();
        let mut at = self.root;
        for segment in segments {
            path.push((at, segment));
            let Some(child) = self.nodes[at as usize].child(segment) else {
                debug_assert!(false, "what is removed was inserted");
                return;
            };
            at = child;
        }
        let node = &mut self.nodes[at as usize];
        if rest {
            node.rest = None;
        } else {
            node.here = None;
        }
        while self.nodes[at as usize].is_empty()
            && let Some((parent, segment)) = path.pop()
        {
            self.nodes.remove(at as usize);
            let node = &mut self.nodes[parent as usize];
            if segment == "*" {
                node.any = NONE;
            } else {
                node.named.remove(segment);
            }
            if node.named.is_empty() {
                node.named = HashMap::new();
            }
            at = parent;
        }
        if self.nodes.len() == 1 && self.nodes[self.root as usize].is_empty() {
            *self = Trie::default();
        }
    }

    /// All filters that cover the topic `name`, the most specific first: segment by segment, a name comes before `*`,
    /// and `*` before `>`.
    pub fn covering(&self, name: &str, found: &mut Vec<FilterId>) {
        self.walk(self.root, Some(name), topic::is_reserved(name), found);
    }

    /// How many nodes there are, the root included.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes it holds.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let edge = size_of::<(Box<str>, u32)>() + 1;
        let edges = self.nodes.iter().map(|(_, node)| {
            let texts: usize = node.named.keys().map(|segment| segment.len()).sum();
            node.named.capacity() * edge + texts
        });
        (self.nodes.len() * size_of::<Node>() + edges.sum::<usize>()) as u64
    }

    /// `left` is what of the name is still to be matched below `at`. A first segment with `$` is matched by itself alone.
    fn walk(&self, at: u32, left: Option<&str>, by_name_only: bool, found: &mut Vec<FilterId>) {
        let node = &self.nodes[at as usize];
        let Some(left) = left else {
            return found.extend(node.here);
        };
        let (segment, behind) = match left.split_once('.') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (left, None),
        };
        if let Some(&child) = node.named.get(segment) {
            self.walk(child, behind, false, found);
        }
        if by_name_only {
            return;
        }
        if node.any != NONE {
            self.walk(node.any, behind, false, found);
        }
        found.extend(node.rest);
    }
}

/// The segments before a last `>`, and whether there is one.
fn split_rest(filter: &str) -> (impl Iterator<Item = &str>, bool) {
    let (path, rest) = match filter.strip_suffix('>') {
        Some(path) => (path.strip_suffix('.'), true),
        None => (Some(filter), false),
    };
    (path.into_iter().flat_map(|path| path.split('.')), rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covering(trie: &Trie, name: &str) -> Vec<u32> {
        let mut found = Vec::new();
        trie.covering(name, &mut found);
        found.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_most_specific_filter_comes_first() {
        let mut trie = Trie::default();
        let filters = [">", "*.>", "a.>", "*.b", "a.*", "a.b.>", "*.b.c", "a.*.c"];
        for (id, filter) in filters.iter().enumerate() {
            trie.insert(filter, FilterId(id as u32));
        }
        let named = |name: &str| -> Vec<&str> {
            let ids = covering(&trie, name);
            ids.iter().map(|id| filters[*id as usize]).collect()
        };
        assert_eq!(named("a.b"), ["a.*", "a.>", "*.b", "*.>", ">"]);
        assert_eq!(
            named("a.b.c"),
            ["a.b.>", "a.*.c", "a.>", "*.b.c", "*.>", ">"]
        );
        assert_eq!(named("z"), [">"]);
    }

    #[test]
    fn a_walk_visits_no_more_nodes_than_the_filters_have_segments() {
        // 16 segments, each a name or a star: every one of the 2^10 filters covers the name, and each is found once.
        let mut trie = Trie::default();
        let name = ["a"; 16].join(".");
        for pattern in 0..1024_u32 {
            let segment = |n: u32| if pattern >> n & 1 == 0 { "a" } else { "*" };
            let filter: Vec<&str> = (0..16).map(|n| segment(n % 10)).collect();
            trie.insert(&filter.join("."), FilterId(pattern));
        }
        assert!(trie.node_count() <= 1 + 1024 * 16);
        let mut found = covering(&trie, &name);
        found.sort_unstable();
        assert!(found.into_iter().eq(0..1024));
    }

    /// Short names of few segments, so that filters and topics meet.
    fn name(segments: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(segments), 1..4).prop_map(|it| it.join("."))
    }

    proptest! {
        #[test]
        fn it_finds_what_a_comparison_one_by_one_finds(
            filters in prop::collection::hash_set(name(&["a", "b", "*"]), 0..12),
            tails in prop::collection::hash_set(name(&["a", "*"]), 0..4),
            gone in prop::collection::vec(any::<bool>(), 16),
            topic in prop_oneof![name(&["a", "b", "c"]), name(&["a", "b"]).prop_map(|it| format!("${it}"))],
        ) {
            let filters: Vec<String> = filters
                .into_iter()
                .chain(tails.iter().map(|tail| format!("{tail}.>")))
                .chain([">".to_owned(), "$a.>".to_owned()])
                .collect();
            let mut trie = Trie::default();
            for (id, filter) in filters.iter().enumerate() {
                trie.insert(filter, FilterId(id as u32));
            }
            let is_gone = |id: usize| gone.get(id).copied().unwrap_or(false);
            for (id, filter) in filters.iter().enumerate() {
                if is_gone(id) {
                    trie.remove(filter);
                }
            }
            let expected: Vec<u32> = (0..filters.len())
                .filter(|id| !is_gone(*id) && topic::covers(&filters[*id], &topic))
                .map(|id| id as u32)
                .collect();
            let mut found = covering(&trie, &topic);
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            for (id, filter) in filters.iter().enumerate() {
                if !is_gone(id) {
                    trie.remove(filter);
                }
            }
            prop_assert_eq!(trie.node_count(), 1);
        }
    }
}
