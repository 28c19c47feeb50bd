//! The owner's side of filters: which shards want to know of topics that are born.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::filters::FilterId;
use super::mail::ShardId;
use super::trie::Trie;

#[derive(Debug)]
struct Watch {
    name: Arc<str>,
    shards: Vec<ShardId>,
}

/// The filters of all shards, as one owner knows them.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Slab<Watch>,
    by_name: HashMap<Arc<str>, FilterId>,
    trie: Trie,
}

impl Watches {
    /// How many different filters there are.
    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    /// Members of `shard` subscribe to the filter; once more makes no difference.
    pub(super) fn add(&mut self, name: &Arc<str>, shard: ShardId) {
        let id = match self.by_name.get(name) {
            Some(&id) => id,
            None => {
                let watch = Watch {
                    name: name.clone(),
                    shards: Vec::new(),
                };
                let id = FilterId(self.watches.insert(watch) as u32);
                self.by_name.insert(name.clone(), id);
                self.trie.insert(name, id);
                id
            }
        };
        let shards = &mut self.watches[id.0 as usize].shards;
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }

    /// No member of `shard` does any more.
    pub(super) fn remove(&mut self, name: &str, shard: ShardId) {
        // A filter that was refused is unwatched too; then there is nothing to do.
        let Some(&id) = self.by_name.get(name) else {
            return;
        };
        let shards = &mut self.watches[id.0 as usize].shards;
        shards.retain(|other| *other != shard);
        if shards.is_empty() {
            let watch = self.watches.remove(id.0 as usize);
            self.by_name.remove(&watch.name);
            self.trie.remove(&watch.name);
        }
    }

    /// The shards with filters that cover the topic `name`, each once.
    pub(super) fn interested(&self, name: &str) -> Vec<ShardId> {
        let mut shards = Vec::new();
        if self.watches.is_empty() {
            return shards;
        }
        let mut covering = Vec::new();
        self.trie.covering(name, &mut covering);
        for id in covering {
            for shard in &self.watches[id.0 as usize].shards {
                if !shards.contains(shard) {
                    shards.push(*shard);
                }
            }
        }
        shards
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let entry = size_of::<Watch>() + size_of::<(Arc<str>, FilterId)>();
        let watch = |watch: &Watch| {
            entry + watch.name.len() + watch.shards.capacity() * size_of::<ShardId>()
        };
        let watches: usize = self.watches.iter().map(|(_, one)| watch(one)).sum();
        self.trie.held_bytes() + watches as u64
    }
}
