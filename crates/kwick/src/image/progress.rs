//! How far a long transfer has come, for a person at a terminal; a pipe sees nothing of it.

use std::sync::Arc;

use base_image::registry_client::ProgressReceiver;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{msg} {bytes}/{total_bytes} {wide_bar}";

/// A bar on standard error.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start(what: &str, total_bytes: u64) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(total_bytes).with_style(style).with_message(what.to_owned()))
    }

    /// Moves the bar.
    pub(super) fn receiver(&self) -> ProgressReceiver {
        let bar = self.0.clone();
        Arc::new(move |progress| bar.set_position(progress.done_bytes))
    }

    /// Takes the bar away: the answer says the rest.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A size as people write it.
pub(super) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
