//! The archive that the kernel unpacks into memory at boot: written in Rust, so that no `cpio` and no root is needed.
//!
//! The format is "newc" (Documentation/driver-api/early-userspace/buffer-format.rst): per file a header of 110 ASCII bytes, the
//! name with a zero byte, and the data, each padded to 4 bytes.

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive being written; names have no leading slash, and a folder comes before what is in it.
pub(crate) struct Archive {
    bytes: Vec<u8>,
    next_inode: u32,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), next_inode: 1 }
    }

    pub(crate) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, &[]);
    }

    /// A file that everyone may read and run.
    pub(crate) fn file(&mut self, name: &str, data: &[u8]) {
        self.entry(name, PROGRAM, data);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.next_inode = 0;
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        let size = u32::try_from(data.len()).expect("files here are far below 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        // inode, mode, uid, gid, links, mtime, size, device (major, minor), its own device (2), size of the name, checksum.
        let fields = [self.next_inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.next_inode += 1;
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_laid_out_as_newc() {
        let mut archive = Archive::new();
        archive.folder("bin");
        archive.file("bin/sh", b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("0707010000000100"), "{text}");
        // A header of 110 bytes, the name at its end.
        assert_eq!(&text[110..114], "bin\0");
        let second = (110_usize + 4).next_multiple_of(4);
        assert_eq!(&text[second..second + 6], "070701");
        assert_eq!(&text[second + 14..second + 22], "000081ed", "a regular file, 755");
        assert_eq!(&text[second + 54..second + 62], "00000005", "of five bytes");
        assert_eq!(&text[second + 110..second + 128], "bin/sh\0\0\0\0hello\0\0\0");
        assert_eq!(&text[second + 128..second + 134], "070701");
        assert!(text.contains("TRAILER!!!\0"));
    }
}
