//! The last step: becoming the container's program, or saying precisely why not.

use std::ffi::CString;
use std::io;

use rustix::io::Errno;

use super::{Step, failed};
use crate::sys::exec::{close_on_exec_from, execve};
use crate::sys::signals;
use crate::wire::{Refusal, RefusalCode};

/// Where programs are searched if the environment does not say.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that exec needs, made before privileges are dropped.
#[derive(Debug)]
pub(crate) struct Program {
    /// As the container's words say it, for messages.
    name: String,
    /// Where it may be, in the order of trying.
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    is_searched: bool,
}

impl Program {
    /// `home` is used if the environment names none; a terminal is said to be one.
    pub(crate) fn new(command: &[String], env: &[(String, String)], home: &str, has_terminal: bool) -> Step<Self> {
        let name = command.first().cloned().unwrap_or_default();
        let find = |wanted: &str| env.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let path = find("PATH").unwrap_or(DEFAULT_PATH);
        let is_searched = !name.contains('/');
        let candidates = match is_searched {
            true => path.split(':').map(|directory| candidate(directory, &name)).collect(),
            false => vec![name.clone()],
        };
        let mut env: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        env.extend(find("PATH").is_none().then(|| format!("PATH={DEFAULT_PATH}")));
        env.extend(find("HOME").is_none().then(|| format!("HOME={home}")));
        env.extend((has_terminal && find("TERM").is_none()).then(|| "TERM=xterm".to_owned()));
        let c_strings = |texts: Vec<String>| texts.into_iter().map(c_string).collect::<Step<Vec<_>>>();
        Ok(Self {
            candidates: c_strings(candidates)?,
            argv: c_strings(command.to_vec())?,
            env: c_strings(env)?,
            name,
            is_searched,
        })
    }

    /// Becomes the program. Returns only why that failed.
    pub(crate) fn run(&self) -> Refusal {
        if let Err(error) = signals::reset_for_exec() {
            return failed("resetting signals")(error);
        }
        if let Err(error) = close_on_exec_from(3) {
            return failed("closing descriptors")(error);
        }
        let mut refused = None;
        for candidate in &self.candidates {
            let error = execve(candidate, &self.argv, &self.env);
            match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) if !exists(candidate) => {}
                // Like a shell: something later in PATH may be executable.
                Some(Errno::ACCESS) if self.is_searched => refused = refused.or(Some(error)),
                _ => return self.not_executable(&error),
            }
        }
        refused.map_or_else(|| self.not_found(), |error| self.not_executable(&error))
    }

    fn not_found(&self) -> Refusal {
        let reason = match self.is_searched {
            true => "executable file not found in $PATH".to_owned(),
            false => format!("stat {}: no such file or directory", self.name),
        };
        Refusal::new(RefusalCode::CommandNotFound, format!("exec: {:?}: {reason}", self.name))
    }

    fn not_executable(&self, error: &io::Error) -> Refusal {
        let reason = match Errno::from_io_error(error) {
            Some(Errno::ACCESS) => "permission denied".to_owned(),
            Some(Errno::NOEXEC) => {
                "exec format error (built for another architecture, or a script without an interpreter line)".to_owned()
            }
            Some(Errno::NOENT) => "its interpreter or dynamic loader is missing in the image".to_owned(),
            Some(Errno::TOOBIG) => "its arguments and environment are too long".to_owned(),
            _ => error.to_string(),
        };
        Refusal::new(RefusalCode::CommandNotExecutable, format!("exec: {:?}: {reason}", self.name))
    }
}

fn candidate(directory: &str, name: &str) -> String {
    let directory = if directory.is_empty() { "." } else { directory };
    format!("{}/{name}", directory.trim_end_matches('/'))
}

fn c_string(text: String) -> Step<CString> {
    CString::new(text).map_err(|_| Refusal::new(RefusalCode::Invalid, "command: has a zero byte"))
}

fn exists(path: &CString) -> bool {
    rustix::fs::access(path.as_c_str(), rustix::fs::Access::EXISTS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[CString]) -> Vec<&str> {
        texts.iter().map(|text| text.to_str().unwrap()).collect()
    }

    #[test]
    fn a_plain_name_is_searched_and_a_path_is_not() {
        let env = [("PATH".to_owned(), "/a:/b/::".to_owned())];
        let program = Program::new(&["x".to_owned()], &env, "/home", false).unwrap();
        assert_eq!(strings(&program.candidates), ["/a/x", "/b/x", "./x", "./x"]);
        assert_eq!(strings(&program.env), ["PATH=/a:/b/::", "HOME=/home"]);
        let program = Program::new(&["./x".to_owned(), "1".to_owned()], &[], "/", true).unwrap();
        assert_eq!(strings(&program.candidates), ["./x"]);
        assert_eq!(strings(&program.argv), ["./x", "1"]);
        assert_eq!(strings(&program.env), [format!("PATH={DEFAULT_PATH}").as_str(), "HOME=/", "TERM=xterm"]);
    }
}
