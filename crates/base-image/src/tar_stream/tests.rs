//! Archives as builders write them, archives as an attacker would, and arbitrary damage.

use proptest::prelude::*;

use super::*;

/// An archive under construction, with the freedom to lie.
#[derive(Clone, Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn header(name: &[u8], kind: u8, size: u64) -> Header {
        let mut header = Header::new_ustar();
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name);
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header
    }

    pub(crate) fn push(mut self, mut header: Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK_BYTES), 0);
        self
    }

    pub(crate) fn entry(self, name: &str, kind: u8, data: &[u8]) -> Self {
        self.push(Self::header(name.as_bytes(), kind, data.len() as u64), data)
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.entry(name, b'0', data.as_bytes())
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        let mut header = Self::header(name.as_bytes(), b'5', 0);
        header.set_mode(mode);
        self.push(header, b"")
    }

    pub(crate) fn link(self, name: &str, kind: u8, target: &str) -> Self {
        let mut header = Self::header(name.as_bytes(), kind, 0);
        header.set_link_name_literal(target).unwrap();
        self.push(header, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let length = (body..).find(|length| length.to_string().len() + body == *length).unwrap();
            data.extend(format!("{length} {key}=").bytes().chain(value.iter().copied()).chain([b'\n']));
        }
        self.entry("pax", b'x', &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK_BYTES, 0);
        self.0
    }
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut stream = TarStream::new(Sequential(bytes));
    let mut entries = Vec::new();
    while let Some(entry) = stream.next_entry()? {
        let mut data = Vec::new();
        stream.read_to_end(&mut data).map_err(TarError::from_io)?;
        entries.push((entry, data));
    }
    Ok(entries)
}

#[test]
fn entries_of_every_kind() {
    let archive = Archive::default()
        .dir("d/", 0o1777)
        .file("d/f", "hello")
        .link("d/s", b'2', "../f")
        .link("d/h", b'1', "d/f")
        .entry("old/", b'\0', b"")
        .entry("fifo", b'6', b"");
    let entries = read(&archive.end()).unwrap();
    let kinds: Vec<_> = entries.iter().map(|(entry, _)| entry.kind).collect();
    assert_eq!(kinds, [Kind::Directory, Kind::File, Kind::Symlink, Kind::HardLink, Kind::Directory, Kind::Fifo]);
    assert_eq!(entries[0].0.mode, 0o1777);
    assert_eq!(entries[1].1, b"hello");
    assert_eq!((entries[2].0.link.as_slice(), entries[3].0.link.as_slice()), (&b"../f"[..], &b"d/f"[..]));
}

#[test]
fn what_the_tar_crate_writes_with_long_names() {
    let (name, target) = ("n/".repeat(150) + "f", "t".repeat(300));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, &name, &target).unwrap();
    let entries = read(&builder.into_inner().unwrap()).unwrap();
    assert_eq!((entries[0].0.path.as_slice(), entries[0].0.link.as_slice()), (name.as_bytes(), target.as_bytes()));
}

#[test]
fn pax_records_replace_what_the_header_says() {
    let records: [(&str, &[u8]); 5] =
        [("path", b"long"), ("uid", b"4294967294"), ("mtime", b"5.5"), ("size", b"3"), ("SCHILY.xattr.user.a", b"v")];
    let archive = Archive::default().pax(&records).push(Archive::header(b"short", b'0', 0), b"abc").file("next", "n");
    let entries = read(&archive.end()).unwrap();
    let (entry, data) = &entries[0];
    assert_eq!(
        (entry.path.as_slice(), entry.uid, entry.mtime, entry.mtime_nanos),
        (&b"long"[..], 4_294_967_294, 5, 500_000_000)
    );
    assert_eq!((data.as_slice(), entry.xattrs.len()), (&b"abc"[..], 1));
    assert_eq!((entries[1].0.path.as_slice(), entries[1].0.xattrs.len()), (&b"next"[..], 0));
}

#[test]
fn the_end_may_be_missing_but_not_a_part() {
    let whole = Archive::default().file("f", "hello").end();
    let data_end = 2 * BLOCK_BYTES;
    assert_eq!(read(&whole[..data_end]).unwrap().len(), 1);
    assert_eq!(read(b"").unwrap().len(), 0);
    for cut in [1, 511, 513, 517, data_end - 1] {
        assert!(matches!(read(&whole[..cut]), Err(TarError::Truncated)), "{cut}");
    }
}

#[test]
fn unread_data_is_skipped_in_both_ways() {
    let bytes = Archive::default().file("a", &"x".repeat(1000)).file("b", "y").end();
    let mut sequential = TarStream::new(Sequential(bytes.as_slice()));
    let mut seeking = TarStream::new(BufReader::new(io::Cursor::new(&bytes)));
    sequential.next_entry().unwrap();
    seeking.next_entry().unwrap();
    assert_eq!(sequential.next_entry().unwrap().unwrap().path, b"b");
    assert_eq!(seeking.next_entry().unwrap().unwrap().path, b"b");
    assert_eq!((sequential.offset(), seeking.offset()), (2048, 2048));
}

#[test]
fn hostile_headers_are_refused() {
    let header = |kind, size| Archive::default().push(Archive::header(b"x", kind, size), b"").end();
    assert!(matches!(read(&header(b'L', 1 << 40)), Err(TarError::ExtensionTooLarge { .. })));
    assert!(matches!(read(&header(b'x', MAX_EXTENSION_BYTES + 1)), Err(TarError::ExtensionTooLarge { .. })));
    assert!(matches!(read(&header(b'S', 0)), Err(TarError::Sparse)));
    assert!(matches!(read(&header(b'0', u64::MAX)), Err(TarError::Truncated)));
    assert!(matches!(read(&header(b'g', u64::MAX)), Err(TarError::Truncated)));
    let sparse = Archive::default().pax(&[("GNU.sparse.major", b"1")]).file("f", "").end();
    assert!(matches!(read(&sparse), Err(TarError::Sparse)));
    let zero_byte = Archive::default().pax(&[("path", b"a\0b")]).file("f", "").end();
    assert!(matches!(read(&zero_byte), Err(TarError::Malformed { offset: 1024, .. })));
    assert!(matches!(read(&Archive::default().file("", "").end()), Err(TarError::Malformed { .. })));
    assert!(matches!(read(&[b'x'; 1024]), Err(TarError::Malformed { offset: 0, .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_end_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = read(&bytes);
    }

    #[test]
    fn damage_ends_without_panic(at in 0_usize..4096, byte: u8, fix_checksum: bool) {
        let archive = Archive::default().pax(&[("path", b"p"), ("mtime", b"1.5")]).dir("d", 0o755).file("d/f", "hello");
        let mut bytes = archive.end();
        let at = at % bytes.len();
        bytes[at] = byte;
        if fix_checksum {
            let block = at / BLOCK_BYTES * BLOCK_BYTES;
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[block..block + BLOCK_BYTES]);
            header.set_cksum();
            bytes[block..block + BLOCK_BYTES].copy_from_slice(header.as_bytes());
        }
        let _ = read(&bytes);
    }
}
