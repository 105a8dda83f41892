//! Whether a file is a program that runs alone in an empty root: said before the image is made, not by a Pod that cannot start.
//!
//! Reads an ELF file's header and program headers. Specified by the System V ABI, `elf(5)`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use base_image::Platform;

const MAGIC: &[u8] = b"\x7fELF";
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
/// Program headers that are looked at; programs have about a dozen.
const PROGRAM_HEADERS_MAX: u16 = 128;
/// The longest path of an interpreter.
const INTERPRETER_MAX_BYTES: u64 = 4096;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
/// The type of the program header that names the interpreter, that is, the dynamic linker.
const INTERPRETER: u32 = 3;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// Why a file is no such program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It is no ELF file.
    #[error("it is not a program for 64-bit Linux; scripts and other programs need an image with their interpreter")]
    NotElf,
    /// It is for another processor.
    #[error("it is a program for {actual}, this machine is {wanted}")]
    Architecture {
        /// What it is for.
        actual: String,
        /// What runs here.
        wanted: String,
    },
    /// It needs libraries that are not in the image.
    #[error(
        "it is dynamically linked (it needs {interpreter}); link it statically (Go: CGO_ENABLED=0, Rust: -C target-feature=+crt-static, \
         C: -static), or add its libraries with --file"
    )]
    Dynamic {
        /// Its dynamic linker.
        interpreter: String,
    },
}

/// Fails unless `path` is a program that runs on this machine without another file than those added at `targets`.
pub(super) fn check(path: &Path, targets: &[&Path]) -> Result<(), ProgramError> {
    let file = File::open(path).map_err(ProgramError::Read)?;
    if file.metadata().map_err(ProgramError::Read)?.is_dir() {
        return Err(ProgramError::Read(io::ErrorKind::IsADirectory.into()));
    }
    let header = read(&file, 0, HEADER_BYTES)?.ok_or(ProgramError::NotElf)?;
    let is_elf = header.starts_with(MAGIC) && header.get(4) == Some(&CLASS_64) && header.get(5) == Some(&LITTLE_ENDIAN);
    if !is_elf {
        return Err(ProgramError::NotElf);
    }
    let (actual, wanted) = (architecture(half(&header, 18)), Platform::host().architecture);
    if actual != wanted {
        return Err(ProgramError::Architecture { actual, wanted });
    }
    match interpreter(&file, &header)? {
        Some(interpreter) if !targets.iter().any(|target| Path::new(&interpreter).starts_with(target)) => {
            Err(ProgramError::Dynamic { interpreter })
        }
        _ => Ok(()),
    }
}

fn architecture(machine: u16) -> String {
    match machine {
        X86_64 => "amd64".to_owned(),
        AARCH64 => "arm64".to_owned(),
        other => format!("another processor (ELF machine {other})"),
    }
}

/// The dynamic linker that the program names.
fn interpreter(file: &File, header: &[u8]) -> Result<Option<String>, ProgramError> {
    let (first, count) = (word(header, 32), half(header, 56).min(PROGRAM_HEADERS_MAX));
    let step = u64::from(half(header, 54));
    for index in 0..u64::from(count) {
        let offset = first.saturating_add(step.saturating_mul(index));
        let Some(entry) = read(file, offset, PROGRAM_HEADER_BYTES)? else { return Ok(None) };
        if u32::try_from(word(&entry, 0) & 0xffff_ffff) != Ok(INTERPRETER) {
            continue;
        }
        let length = usize::try_from(word(&entry, 32).min(INTERPRETER_MAX_BYTES)).unwrap_or_default();
        let text = read(file, word(&entry, 8), length)?.unwrap_or_default();
        return Ok(Some(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned()));
    }
    Ok(None)
}

/// A part of the file; none if it ends before.
fn read(file: &File, offset: u64, length: usize) -> Result<Option<Vec<u8>>, ProgramError> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        // An offset beyond what a file can have is one that it does not have.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => Ok(None),
        Err(error) => Err(ProgramError::Read(error)),
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
