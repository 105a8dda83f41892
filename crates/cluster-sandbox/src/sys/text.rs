//! What of the program's code is in memory.

use std::fs;
use std::io;
use std::ops::Range;
use std::ptr;

/// Takes this program's code out of the process's memory. What is executed again comes back by itself, from the page cache.
///
/// A program executes much of its code once, at its start; nothing else makes the kernel notice that it is not needed any more.
///
/// # Errors
/// The process cannot read its own memory map, or the kernel refuses.
pub fn release_text() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let here = release_text as *const () as usize;
    let text = maps.lines().filter_map(code).find(|range| range.contains(&here));
    let Some(text) = text else { return Err(io::Error::other("the program's code is in no mapping of its own")) };
    // SAFETY: the range is one private mapping of a file that can be executed and not written, so memory has nothing that the file has not.
    let result = unsafe { libc::madvise(ptr::without_provenance_mut(text.start), text.len(), libc::MADV_DONTNEED) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The addresses of a line of `maps`, if it is code that cannot be written.
fn code(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    (words.next()? == "r-xp").then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_can_be_executed_and_not_written() {
        assert_eq!(code("7f00-8f00 r-xp 00afc000 fe:00 99 /kwick"), Some(0x7f00..0x8f00));
        for line in ["7f00-8f00 rwxp 0 fe:00 99 /kwick", "7f00-8f00 r--p 0 fe:00 99 /kwick", "7f00 r-xp", ""] {
            assert_eq!(code(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_program_goes_on_without_the_code_of_its_start() {
        release_text().unwrap();
        assert_eq!(code("1-2 r-xp"), Some(1..2));
    }
}
