//! What a watcher of a kind saw: every version of every object, in order.

use std::sync::{Arc, Mutex};

use base_controller::{Context, Object, Scope};
use kube::Resource;

/// Every version of the objects of a kind, from when it was started.
#[derive(Debug)]
pub struct Timeline<K> {
    versions: Arc<Mutex<Vec<Arc<K>>>>,
}

impl<K: Object + Resource<DynamicType = ()>> Timeline<K> {
    /// Starts to watch, with an informer of `context`.
    pub async fn start(context: &Context) -> Self {
        let informer = context.informers.get::<K>(Scope::all());
        informer.synced().await;
        let versions: Arc<Mutex<Vec<Arc<K>>>> = Arc::default();
        let noting = Arc::clone(&versions);
        informer.subscribe(move |delta| {
            if let Some(new) = delta.new {
                noting.lock().unwrap().push(Arc::clone(new));
            }
        });
        Self { versions }
    }

    /// What has been seen since the last call.
    pub fn take(&self) -> Vec<Arc<K>> {
        std::mem::take(&mut *self.versions.lock().unwrap())
    }
}
