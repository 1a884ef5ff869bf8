//! What a keeper executes, as a file in memory: a small head, then strings that end with NUL.
//!
//! A file, because arguments may be larger than any socket message, and laid out as `execve` wants
//! them, so that a keeper needs no copy of each.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use shared::ids::ProcessId;
use shared::protocol::pty::PtySize;

use crate::process::cgroup::GroupPlan;
use crate::process::sandbox::SandboxPlan;
use crate::user::Identity;

/// What stands before the strings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::process) struct Head {
    pub(in crate::process) process: ProcessId,
    /// Where the output goes.
    pub(in crate::process) output_dir: PathBuf,
    pub(in crate::process) kept_bytes: u64,
    /// Names this boot of the machine.
    pub(in crate::process) boot_id: String,
    pub(in crate::process) input: InputKind,
    /// It has a terminal of this size in place of pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::process) terminal: Option<PtySize>,
    /// Its control groups.
    #[serde(default)]
    pub(in crate::process) groups: GroupPlan,
    /// Whose process it is; none: the daemon's user's.
    #[serde(default)]
    pub(in crate::process) identity: Option<Identity>,
    /// The sandbox that it is executed in, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::process) sandbox: Option<SandboxPlan>,
    /// Strings that are arguments; after the program, before the environment.
    arguments: usize,
}

/// What standard input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::process) enum InputKind {
    /// At its end.
    Closed,
    /// A file that is handed over.
    File,
    /// A pipe that the keeper writes to.
    Open,
}

/// The whole image. The pointers lead into it, so it must live until `execve`.
pub(super) struct Image {
    pub(super) head: Head,
    strings: Vec<u8>,
}

/// Pointers into an [`Image`], each array ended by a null.
pub(super) struct Pointers<'a> {
    pub(super) identity: Option<&'a Identity>,
    pub(super) program: *const c_char,
    pub(super) argv: Vec<*const c_char>,
    pub(super) env: Vec<*const c_char>,
}

impl Head {
    /// The head of a process that keeps `kept_bytes` of output in `output_dir`.
    pub(in crate::process) fn new(
        process: ProcessId,
        output_dir: &Path,
        kept_bytes: u64,
        boot_id: &str,
        input: InputKind,
    ) -> Self {
        let (output_dir, boot_id) = (output_dir.to_owned(), boot_id.to_owned());
        let (groups, identity) = (GroupPlan::default(), None);
        Self {
            process,
            output_dir,
            kept_bytes,
            boot_id,
            input,
            terminal: None,
            groups,
            identity,
            sandbox: None,
            arguments: 0,
        }
    }

    /// The same with a terminal.
    pub(in crate::process) fn with_terminal(self, terminal: Option<PtySize>) -> Self {
        Self { terminal, ..self }
    }

    /// The same in a sandbox.
    pub(in crate::process) fn sandboxed(self, sandbox: Option<SandboxPlan>) -> Self {
        Self { sandbox, ..self }
    }

    /// The same, in `groups` and as `identity`.
    pub(in crate::process) fn contained(
        self,
        groups: GroupPlan,
        identity: Option<Identity>,
    ) -> Self {
        Self { groups, identity, ..self }
    }
}

/// Writes an image into a new file in memory.
pub(in crate::process) fn write(
    mut head: Head,
    program: &CString,
    argv: &[CString],
    env: &[CString],
) -> io::Result<OwnedFd> {
    head.arguments = argv.len();
    let head = shared::wire::encode(&head);
    let mut bytes = Vec::with_capacity(4 + head.len() + 4096);
    bytes.extend_from_slice(&u32::try_from(head.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&head);
    for string in std::iter::once(program).chain(argv).chain(env) {
        bytes.extend_from_slice(string.as_bytes_with_nul());
    }
    memory_file(&bytes)
}

/// A file in memory that is read from its start.
pub(in crate::process) fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("keeper", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

impl Image {
    /// Reads what [`write`] wrote.
    pub(super) fn read(fd: OwnedFd) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::from(fd).read_to_end(&mut bytes)?;
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(invalid)?;
        let len = u32::from_be_bytes(*len) as usize;
        let (head, strings) = rest.split_at_checked(len).ok_or_else(invalid)?;
        let head = shared::wire::decode(head).map_err(|_| invalid())?;
        if strings.last() != Some(&0) {
            return Err(invalid());
        }
        Ok(Self { head, strings: strings.to_vec() })
    }

    pub(super) fn pointers(&self) -> Pointers<'_> {
        let mut rest = self.strings.split_inclusive(|byte| *byte == 0);
        let mut next = || rest.next().map(|string| string.as_ptr().cast::<c_char>());
        let program = next().unwrap_or(std::ptr::null());
        let mut argv: Vec<_> = std::iter::from_fn(&mut next).take(self.head.arguments).collect();
        argv.push(std::ptr::null());
        let mut env: Vec<_> = std::iter::from_fn(next).collect();
        env.push(std::ptr::null());
        Pointers { identity: self.head.identity.as_ref(), program, argv, env }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn an_image_gives_back_its_strings_in_order() {
        let strings = |texts: &[&str]| -> Vec<CString> {
            texts.iter().map(|text| CString::new(*text).unwrap()).collect()
        };
        let id = "proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap();
        let head = Head::new(id, Path::new("/out"), 9, "boot", InputKind::Open);
        let (argv, env) = (strings(&["sh", "", "-c"]), strings(&["A=1", "B="]));
        let fd = write(head, &CString::new("/bin/sh").unwrap(), &argv, &env).unwrap();
        let image = Image::read(fd).unwrap();
        assert_eq!((image.head.input, image.head.kept_bytes), (InputKind::Open, 9));
        let pointers = image.pointers();
        #[expect(unsafe_code, reason = "the pointers lead into the image, which lives")]
        // SAFETY: each pointer leads to a string of the image that ends with NUL.
        let read = |pointers: &[*const c_char]| -> Vec<CString> {
            let strings = pointers[..pointers.len() - 1].iter();
            strings.map(|pointer| unsafe { CStr::from_ptr(*pointer) }.to_owned()).collect()
        };
        assert_eq!(read(&[pointers.program, std::ptr::null()]), strings(&["/bin/sh"]));
        assert_eq!((read(&pointers.argv), read(&pointers.env)), (argv, env));
    }
}
