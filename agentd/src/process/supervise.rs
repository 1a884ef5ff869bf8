//! Making keepers, and finding those that an earlier daemon made.
//!
//! ```text
//! processes/keepers/lock              held by the forker: while it is, more keepers may come
//! processes/keepers/<id>/socket       the keeper listens here
//! processes/keepers/<id>/record       what it wrote down
//! ```
//!
//! A forker has its orders worked off and ends when its daemon has gone; it, its spare and each keeper
//! that was not told to go hold the lock. The next daemon waits for that before it looks for keepers:
//! so it sees all of them, and a start whose keeper wrote nothing down was provably never executed.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shared::ids::ProcessId;
use shared::protocol::process::{SandboxFacts, Stdin};

use super::cgroup::{Availability, Ground, Group};
use super::error::StartError;
use super::keeper::image::{self, Head, InputKind};
use super::keeper::record::Kept;
use super::launch::Launch;
use super::limits::Containment;
use super::sandbox::{self, SandboxPlan};
use crate::file_lock::lock_within;
use crate::user::Identity;

/// First argument of the program that makes keepers; see [`super::run_forker`].
pub const FORKER_ARGUMENT: &str = "keeper-forker";

/// How long an earlier daemon's forker is waited for: it works off its orders and ends.
const FORKER_ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Room that is kept for a keeper's record: all that it ever writes down.
const RECORD_BYTES: u64 = 4 * 1024;

/// Descriptors that no process is started with: the daemon needs some to answer, to read output and to
/// end what runs.
const RESERVED_DESCRIPTORS: u64 = 16;

/// The program that makes keepers: `agentd` itself, with [`FORKER_ARGUMENT`].
#[derive(Clone, Debug)]
pub struct KeeperProgram {
    path: PathBuf,
    containment: Containment,
}

/// Makes keepers and finds them.
pub(super) struct Supervisor {
    program: KeeperProgram,
    dir: PathBuf,
    boot_id: String,
    forker: Mutex<Forker>,
    /// What the machine has for sandboxes, looked at once.
    sandbox: Result<SandboxFacts, String>,
    /// After the forker, which is in its groups.
    ground: Ground,
}

struct Forker {
    orders: OwnedFd,
    child: Child,
}

/// A keeper that has its order, and executes nothing before [`go`](Ordered::go). Dropped, it leaves.
pub(super) struct Ordered {
    /// The daemon's end.
    link: UnixStream,
    listener: OwnedFd,
    record: File,
}

impl Ordered {
    /// Lets the keeper execute its program: the start is durable. Gives the daemon's end of the link
    /// to it; whether the program runs is told there.
    pub(super) fn go(self) -> Result<UnixStream, StartError> {
        let fds = [self.listener.as_fd(), self.record.as_fd()];
        match super::keeper::send(&self.link, &fds) {
            // Also one that has gone: what it noted decides.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(self.link),
            Err(error) => Err(StartError::of_io(error.into())),
        }
    }
}

impl KeeperProgram {
    /// The program that runs now, also when its file was replaced meanwhile.
    #[must_use]
    pub fn own() -> Self {
        Self::at("/proc/self/exe")
    }

    /// The `agentd` at `path`. For programs that are not `agentd`, such as tests.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), containment: Containment::default() }
    }

    /// Whose the processes are; none: the daemon's user's.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.containment.identity.clone()
    }

    /// The same, which holds processes together so.
    #[must_use]
    pub fn with(self, containment: Containment) -> Self {
        Self { containment, ..self }
    }
}

impl Supervisor {
    /// Waits for the end of an earlier forker and starts one. Blocks.
    pub(super) fn open(program: KeeperProgram, dir: PathBuf, boot_id: String) -> io::Result<Self> {
        create_private(&dir)?;
        let state = std::fs::canonicalize(&dir)?;
        let ground = Ground::open(&state, program.containment.clone());
        let forker = Forker::start(&program, &dir, &ground)?;
        let sandbox = sandbox::available(program.containment.sandbox);
        let forker = Mutex::new(forker);
        let supervisor = Self { program, dir, boot_id, sandbox, ground, forker };
        supervisor.collect_groups();
        Ok(supervisor)
    }

    /// Removes the groups of processes that have no keeper any more, as far as they are empty.
    pub(super) fn collect_groups(&self) {
        self.ground.collect(|process| self.dir_of(process).exists());
    }

    /// Which means of containment this daemon has.
    pub(super) fn availability(&self) -> Availability {
        self.ground.availability()
    }

    /// The groups of a process whose keeper may be gone.
    pub(super) fn group(&self, process: ProcessId) -> Group {
        Group::found(self.ground.plan(process))
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Orders a keeper for `launch`: all that can be done while the start is not durable yet. What it
    /// makes on disk goes with [`remove`](Self::remove).
    pub(super) fn order(
        &self,
        process: ProcessId,
        launch: &Launch,
        output_dir: &Path,
    ) -> Result<Ordered, StartError> {
        let (link, theirs) = UnixStream::pair().map_err(StartError::of_io)?;
        if is_reserved(&link) {
            return Err(StartError::TooManyOpenFiles);
        }
        let program: &CString = launch
            .program
            .as_ref()
            .map_err(|cause| StartError::Spawn { program: launch.name.clone(), cause: *cause })?;
        let (input, data) = match &launch.stdin {
            Stdin::Closed => (InputKind::Closed, None),
            Stdin::Open => (InputKind::Open, None),
            Stdin::Bytes { data } => (InputKind::File, Some(image::memory_file(data))),
        };
        let data = data.transpose().map_err(StartError::of_io)?;
        let identity = self.program.containment.identity.clone();
        let head = Head::new(process, output_dir, launch.output_kept_bytes, &self.boot_id, input)
            .with_terminal(launch.terminal.as_ref().map(|terminal| terminal.size))
            .contained(self.ground.plan(process), identity)
            .sandboxed(self.prepare_sandbox(process, launch)?);
        let image = image::write(head, program, &launch.argv, &launch.env);
        let image = image.map_err(StartError::of_io)?;
        let mut fds: Vec<BorrowedFd<'_>> =
            vec![image.as_fd(), theirs.as_fd(), launch.cwd.fd.as_fd()];
        fds.extend(data.as_ref().map(AsFd::as_fd));
        self.send(&fds).map_err(StartError::of_io)?;
        // Beside the keeper, which needs them when it goes.
        let (listener, record) = self.prepare(process).map_err(StartError::of_io)?;
        Ok(Ordered { link, listener, record })
    }

    /// Whether and by which means processes can be sandboxed; the error says to people why not.
    pub(super) fn sandbox(&self) -> &Result<SandboxFacts, String> {
        &self.sandbox
    }

    /// The directory in which alone a sandboxed process may write.
    fn prepare_sandbox(
        &self,
        process: ProcessId,
        launch: &Launch,
    ) -> Result<Option<SandboxPlan>, StartError> {
        let Some(facts) = launch.sandbox else { return Ok(None) };
        let owner = self.program.containment.identity.as_ref();
        let scratch = sandbox::make_scratch(process, owner).map_err(|error| {
            StartError::Sandbox(format!("its private directory cannot be made: {error}"))
        })?;
        Ok(Some(SandboxPlan { facts, scratch }))
    }

    /// The directory of one keeper: its socket, at which it is to listen, and its record, empty.
    fn prepare(&self, process: ProcessId) -> io::Result<(OwnedFd, File)> {
        let path = self.dir_of(process);
        create_private(&path)?;
        let dir = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let record = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path.join("record"))?;
        // So that a keeper whose disk is full later on can still write down how its process ended.
        match rustix::fs::fallocate(&record, FallocateFlags::KEEP_SIZE, 0, RECORD_BYTES) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let (flags, stream) = (SocketFlags::CLOEXEC, SocketType::STREAM);
        let listener = rustix::net::socket_with(AddressFamily::UNIX, stream, flags, None)?;
        rustix::net::bind(&listener, &socket_in(&dir)?)?;
        Ok((listener, record))
    }

    fn send(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut forker = self.lock();
        match super::keeper::send(&forker.orders, fds) {
            Err(Errno::PIPE | Errno::CONNRESET) => {
                tracing::warn!("the program that makes keepers has ended; it is started again");
                let _ = forker.child.wait();
                *forker = Forker::start(&self.program, &self.dir, &self.ground)?;
                Ok(super::keeper::send(&forker.orders, fds)?)
            }
            sent => Ok(sent?),
        }
    }

    /// Connects to the keeper of `process`; none when there is none any more.
    pub(super) fn find(&self, process: ProcessId) -> Option<UnixStream> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let dir = rustix::fs::open(self.dir_of(process), flags, Mode::empty()).ok()?;
        let (flags, stream) = (SocketFlags::CLOEXEC, SocketType::STREAM);
        let socket = rustix::net::socket_with(AddressFamily::UNIX, stream, flags, None).ok()?;
        rustix::net::connect(&socket, &socket_in(&dir).ok()?).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
        (peer.uid == rustix::process::geteuid()).then(|| socket.into())
    }

    /// What the keeper of `process` wrote down.
    pub(super) fn kept(&self, process: ProcessId) -> Kept {
        Kept::read(&self.dir_of(process).join("record"))
    }

    /// Every process that has a keeper's directory.
    pub(super) fn all(&self) -> io::Result<Vec<ProcessId>> {
        let entries = std::fs::read_dir(&self.dir)?;
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(ids.collect())
    }

    /// Removes what a keeper had. Its record must be elsewhere.
    pub(super) fn remove(&self, process: ProcessId) {
        // Before the keeper's directory, which is what a later daemon finds it by.
        sandbox::remove_scratch(process, self.program.containment.identity.as_ref());
        let dir = self.dir_of(process);
        // What is left is removed at the next start.
        for file in ["socket", "record"] {
            let _ = std::fs::remove_file(dir.join(file));
        }
        let _ = std::fs::remove_dir(dir);
    }

    fn dir_of(&self, process: ProcessId) -> PathBuf {
        self.dir.join(process.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Forker> {
        self.forker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Forker {
    /// Ends the program: what it forked lives on.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.orders, rustix::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

impl Forker {
    fn start(program: &KeeperProgram, dir: &Path, ground: &Ground) -> io::Result<Self> {
        let lock = lock(&dir.join("lock"))?;
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (orders, theirs) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        let child = Command::new(&program.path)
            .arg(FORKER_ARGUMENT)
            .args(ground.nursery())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(lock))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { orders, child })
    }
}

/// Waits for the lock. It belongs to the open file: the forker has it for as long as it lives.
fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    lock_within(file, FORKER_ENDS_WITHIN)?.ok_or_else(|| {
        io::Error::other("the program that made an earlier daemon's keepers does not end")
    })
}

/// Whether a descriptor is one of the last that the daemon may have. The lowest free number is taken
/// for each, so all below it are in use.
fn is_reserved(fd: &impl AsRawFd) -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let number = u64::try_from(fd.as_raw_fd()).unwrap_or(u64::MAX);
    limit.is_some_and(|limit| number + RESERVED_DESCRIPTORS >= limit)
}

/// Through the directory's descriptor: a state directory may be deeper than a socket address.
fn socket_in(dir: &OwnedFd) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/socket", dir.as_raw_fd()))
}

fn create_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
