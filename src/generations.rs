//! What was compiled lately, by what it was compiled from.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::error::Result;

/// Two generations: when the young one is full, the old one is let go, which holds what has not been used since.
pub(crate) struct Generations<K, V> {
    young: FxHashMap<K, Arc<V>>,
    old: FxHashMap<K, Arc<V>>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: FxHashMap::default(), old: FxHashMap::default() }
    }
}

const GENERATION: usize = 256;

impl<K: Clone + Eq + Hash, V> Generations<K, V> {
    fn get(&mut self, key: &K) -> Option<Arc<V>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        drop(self.insert(key.clone(), value.clone()));
        Some(value)
    }

    /// Returns what is let go, to be dropped where nobody waits for it.
    #[must_use]
    fn insert(&mut self, key: K, value: Arc<V>) -> FxHashMap<K, Arc<V>> {
        let gone = if self.young.len() >= GENERATION {
            std::mem::replace(&mut self.old, std::mem::take(&mut self.young))
        } else {
            FxHashMap::default()
        };
        self.young.insert(key, value);
        gone
    }
}

/// What belongs to a key, compiled on first use. Others are not held up meanwhile, since it may take long.
pub(crate) fn cached<K: Clone + Eq + Hash, V>(
    known: &Mutex<Generations<K, V>>,
    key: &K,
    compile: impl FnOnce() -> Result<V>,
) -> Result<Arc<V>> {
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = known().get(key) {
        return Ok(value);
    }
    let value = Arc::new(compile()?);
    let gone = known().insert(key.clone(), value.clone());
    drop(gone);
    Ok(value)
}
