//! hyper's tasks as named tasks of ours.

use base_rt::Tasks;

/// Runs what hyper spawns for an HTTP/2 connection (its streams, its pings) on the current runtime, under one name.
#[derive(Clone, Debug)]
pub(crate) struct StreamTasks {
    name: &'static str,
    tasks: Tasks,
}

impl StreamTasks {
    pub(crate) fn new(name: &'static str, tasks: &Tasks) -> Self {
        Self { name, tasks: tasks.clone() }
    }
}

impl<F> hyper::rt::Executor<F> for StreamTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.tasks.spawn_transient(self.name, async move {
            // hyper's own tasks report through the connection.
            let _ = future.await;
        });
    }
}
