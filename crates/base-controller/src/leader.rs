//! Who works when several processes run the same controllers.
//!
//! An [`Elector`] gives each controller a [`Leadership`], a level that may come and go. A controller keeps its caches warm all the time, takes
//! keys only while it leads, and finishes the keys in hand when it stops leading. A single process uses [`AlwaysLeader`]; an election by
//! `coordination.k8s.io` Leases implements the same trait and moves the same level.

use base_rt::watch;

/// Decides for which controllers this process leads.
pub trait Elector: Send + Sync {
    /// The leadership of the controller with this name.
    fn leadership(&self, controller: &str) -> Leadership;
}

/// Whether this process leads, as a level to look at and to wait for.
#[derive(Clone, Debug)]
pub struct Leadership(Option<watch::Receiver<bool>>);

impl Leadership {
    /// A leadership that is never lost.
    pub const fn always() -> Self {
        Self(None)
    }

    /// A leadership that follows `is_held`. If its sender goes away, the last value stays.
    pub const fn following(is_held: watch::Receiver<bool>) -> Self {
        Self(Some(is_held))
    }

    /// Whether this process leads now.
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|is_held| *is_held.borrow())
    }

    /// Waits until the answer of [`Leadership::is_held`] is another one than now.
    pub async fn changed(&self) {
        let before = self.is_held();
        if let Some(is_held) = &self.0
            && is_held.clone().wait_for(|is_held| *is_held != before).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// The elector of a process that runs alone.
#[derive(Clone, Copy, Debug)]
pub struct AlwaysLeader;

impl Elector for AlwaysLeader {
    fn leadership(&self, _controller: &str) -> Leadership {
        Leadership::always()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn leadership_comes_and_goes() {
        let (sender, receiver) = watch::channel(false);
        let leadership = Leadership::following(receiver);
        assert!(!leadership.is_held());
        assert!(leadership.changed().now_or_never().is_none());
        sender.send_replace(true);
        assert!(leadership.is_held());
        assert!(leadership.changed().now_or_never().is_none(), "it waits for the next change");
        assert!(Leadership::always().is_held());
    }
}
