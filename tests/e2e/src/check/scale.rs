//! Zero and back, many at once at zero, and as many pods as the load wants.

use anyhow::{Context, Result, bail};

use crate::instance::{Instance, ensure, timed};
use crate::ksvc::{self, Ksvc};
use crate::until::until;

/// Callers of [`all_answered`].
pub(super) const CALLERS: usize = 100;

/// Nobody asks, no pod; somebody asks, an answer.
pub(super) fn zero_and_back(kwick: &Instance<'_>) -> Result<String> {
    let host = ksvc::host(&Ksvc::hello("sleeper").deploy(&kwick.api)?)?;
    let (_, down) = timed(|| ksvc::at_scale(&kwick.api, "sleeper", 0))?;
    let (_, up) = timed(|| ksvc::greet(&kwick.gateway, &host))?;
    ksvc::ready(&kwick.api, "sleeper")?;
    kwick.api.delete(&ksvc::path("sleeper"))?;
    Ok(format!("zero after {:.1} s, back after {} ms", down.as_secs_f64(), up.as_millis()))
}

/// A hundred requests find no pod, and every one is answered.
pub(super) fn burst_at_zero(kwick: &Instance<'_>) -> Result<String> {
    let host = ksvc::host(&Ksvc::hello("crowd").deploy(&kwick.api)?)?;
    ksvc::at_scale(&kwick.api, "crowd", 0)?;
    let (_, took) = timed(|| all_answered(kwick, &host, "/", || Ok(())))?;
    kwick.api.delete(&ksvc::path("crowd"))?;
    Ok(format!("{CALLERS} × 200 in {} ms", took.as_millis()))
}

/// A hundred slow requests, ten meant for one pod: ten pods.
pub(super) fn concurrency(kwick: &Instance<'_>) -> Result<String> {
    let host = ksvc::host(&Ksvc::hello("slow").scale("target", "10").deploy(&kwick.api)?)?;
    ksvc::at_scale(&kwick.api, "slow", 0)?;
    let mut reached = 0;
    all_answered(kwick, &host, "/?ms=8000", || {
        reached = until("10 ready pods", ksvc::PATIENCE, || {
            let ready = ksvc::ready_pods(&kwick.api, "slow")?;
            if ready >= 10 { Ok(Some(ready)) } else { bail!("{ready} are ready") }
        })?;
        Ok(())
    })?;
    kwick.api.delete(&ksvc::path("slow"))?;
    Ok(format!("{reached} pods, {CALLERS} × 200"))
}

/// Asks from a hundred callers at once, does something meanwhile, and fails unless each gets a 200.
pub(super) fn all_answered(
    kwick: &Instance<'_>,
    host: &str,
    path: &str,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| ksvc::ask(&kwick.gateway, host, path))).collect();
        let done = meanwhile();
        let mut failures = Vec::new();
        for caller in callers {
            match caller.join().ok().context("a caller ended early")? {
                Ok((200, _)) => {}
                Ok((status, body)) => failures.push(format!("{status} {}", body.trim())),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        let first = failures.first().cloned().unwrap_or_default();
        ensure(failures.is_empty(), || format!("{} of {CALLERS} were not 200, such as: {first}", failures.len()))?;
        done
    })
}
