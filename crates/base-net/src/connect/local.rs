//! What this process answers itself: a table from addresses to handlers, looked up before anything is dialled.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;

use crate::body::{BoxError, Request, Response};

/// Answers requests to one address, on the caller's thread.
pub trait LocalHandler: Send + Sync {
    /// Answers one request. Upgrades work as over a socket: the request's and the response's `hyper::upgrade::on` are handed through.
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, BoxError>>;
}

impl<F> LocalHandler for F
where
    F: Fn(Request) -> BoxFuture<'static, Result<Response, BoxError>> + Send + Sync,
{
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, BoxError>> {
        self(request)
    }
}

type Table = HashMap<SocketAddr, Arc<dyn LocalHandler>>;

/// The addresses that this process answers itself. Clones share them; readers never wait.
#[derive(Clone, Default)]
pub struct LocalTable(Arc<ArcSwap<Table>>);

impl fmt::Debug for LocalTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<_> = self.0.load().keys().copied().collect();
        addresses.sort();
        f.debug_tuple("LocalTable").field(&addresses).finish()
    }
}

impl LocalTable {
    /// Has `handler` answer for `addr` until the entry is dropped. It replaces who answered before.
    #[must_use = "dropping the entry removes it"]
    pub fn insert(&self, addr: SocketAddr, handler: Arc<dyn LocalHandler>) -> LocalEntry {
        self.0.rcu(|table| {
            let mut table = Table::clone(table);
            table.insert(addr, Arc::clone(&handler));
            table
        });
        LocalEntry { table: self.clone(), addr, handler }
    }

    /// Who answers for `addr` in this process.
    pub fn get(&self, addr: &SocketAddr) -> Option<Arc<dyn LocalHandler>> {
        self.0.load().get(addr).map(Arc::clone)
    }
}

/// An entry of a [`LocalTable`], removed by dropping it (unless somebody else has taken its place).
pub struct LocalEntry {
    table: LocalTable,
    addr: SocketAddr,
    handler: Arc<dyn LocalHandler>,
}

impl fmt::Debug for LocalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalEntry").field(&self.addr).finish()
    }
}

impl Drop for LocalEntry {
    fn drop(&mut self) {
        self.table.0.rcu(|table| {
            let is_ours = table.get(&self.addr).is_some_and(|there| Arc::ptr_eq(there, &self.handler));
            let mut table = Table::clone(table);
            if is_ours {
                table.remove(&self.addr);
            }
            table
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use futures::FutureExt;

    fn says(text: &'static str) -> Arc<dyn LocalHandler> {
        Arc::new(move |_request: Request| async move { Ok(Response::new(Body::from(text))) }.boxed())
    }

    async fn ask(table: &LocalTable, addr: SocketAddr) -> Option<String> {
        let response = table.get(&addr)?.call(Request::new(Body::empty())).await.unwrap();
        Some(String::from_utf8(response.into_body().read(100).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_entry_answers_until_it_is_dropped() {
        let (table, addr) = (LocalTable::default(), SocketAddr::from(([10, 0, 0, 1], 8012)));
        assert_eq!(ask(&table, addr).await, None);
        let first = table.insert(addr, says("first"));
        assert_eq!(ask(&table, addr).await.unwrap(), "first");
        let second = table.insert(addr, says("second"));
        drop(first);
        assert_eq!(ask(&table, addr).await.unwrap(), "second", "who came later stays");
        drop(second);
        assert_eq!(ask(&table, addr).await, None);
    }
}
