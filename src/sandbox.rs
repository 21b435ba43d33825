//! Giving up rights. A program that parses hostile bytes should be able to do nothing else.
//!
//! | step | when | what goes |
//! |---|---|---|
//! | [`Sandbox::rights`] | sockets are open | root's user id (to that of `SUDO_UID`), all capabilities but `CAP_NET_RAW`, the way to new ones (`no_new_privs`) |
//! | [`Sandbox::files`] | outputs are open | files elsewhere than the output places (Landlock), programs, kernel interfaces (seccomp) |
//! | [`Sandbox::network`] | capture threads run | the last capability and new sockets, for every thread but those that capture |
//!
//! With `best`, what this system does not offer is said and left; the capture threads keep `CAP_NET_RAW`, so that an interface that vanished
//! can be opened again. They copy bytes and look at none. With `strict` everything goes, or the program does not run. Not one of these
//! steps is undone later.

use crate::cli;
use std::path::{Path, PathBuf};

/// What happens to rights.
pub struct Sandbox {
    how: cli::Sandbox,
    /// What this system did not let us do, in words.
    missing: Vec<String>,
}

impl Sandbox {
    /// As the user wishes.
    pub const fn new(how: cli::Sandbox) -> Self {
        Self { how, missing: Vec::new() }
    }

    /// Whether an interface can be opened again.
    pub fn keeps_capturing(&self) -> bool {
        self.how != cli::Sandbox::Strict
    }

    /// What could not be given up, each a sentence.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// After the sockets: user, capabilities, and the way to more of them.
    ///
    /// # Errors
    /// With `strict`, what this system does not offer.
    pub fn rights(&mut self) -> Result<(), String> {
        let keep = self.how == cli::Sandbox::Best;
        self.step("rights", || system::rights(keep))
    }

    /// After the outputs: files and system calls. `write` are directories in which files may be made, `read` files or directories that may be
    /// read.
    ///
    /// # Errors
    /// As [`Self::rights`].
    pub fn files(&mut self, write: &[PathBuf], read: &[PathBuf]) -> Result<(), String> {
        self.step("files (Landlock)", || system::landlock(write, read))?;
        self.step("system calls (seccomp)", || system::seccomp(system::Stage::All))
    }

    /// After the capture threads have begun: the rest, for this thread and those it will start.
    ///
    /// # Errors
    /// As [`Self::rights`].
    pub fn network(&mut self) -> Result<(), String> {
        self.step("capabilities", system::last_capability)?;
        self.step("network (seccomp)", || system::seccomp(system::Stage::Network))
    }

    fn step(&mut self, what: &str, act: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        if self.how == cli::Sandbox::Off {
            return Ok(());
        }
        match act() {
            Ok(()) => Ok(()),
            Err(why) if self.how == cli::Sandbox::Strict => {
                Err(format!("--sandbox strict: {what} cannot be given up here: {why}; --sandbox best does without"))
            }
            Err(why) => {
                self.missing.push(format!("{what} are not given up: {why}"));
                Ok(())
            }
        }
    }
}

/// The directory in which an output file is made.
pub fn place_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(target_os = "linux")]
mod system {
    use caps::{CapSet, Capability, CapsHashSet};
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules};
    use nix::libc;
    use nix::sys::prctl;
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    use std::path::PathBuf;

    /// What a filter closes off.
    pub(super) enum Stage {
        /// For every thread: programs, other processes, the kernel's own interfaces.
        All,
        /// For every thread but those that capture: new sockets.
        Network,
    }

    /// Everything but `CAP_NET_RAW`, and that too unless `keep`.
    pub(super) fn rights(keep: bool) -> Result<(), String> {
        let words = |e: &dyn std::fmt::Display| e.to_string();
        let had = caps::read(None, CapSet::Permitted).map_err(|e| words(&e))?;
        let mut stay = CapsHashSet::new();
        if keep && had.contains(&Capability::CAP_NET_RAW) {
            stay.insert(Capability::CAP_NET_RAW);
        }
        let _ = caps::clear(None, CapSet::Ambient);
        if had.contains(&Capability::CAP_SETPCAP) {
            caps::clear(None, CapSet::Bounding).map_err(|e| words(&e))?;
        }
        if Uid::effective().is_root()
            && let Some((uid, gid)) = behind_sudo()
        {
            prctl::set_keepcaps(true).map_err(|e| words(&e))?;
            setgroups(&[gid]).map_err(|e| words(&e))?;
            setresgid(gid, gid, gid).map_err(|e| words(&e))?;
            setresuid(uid, uid, uid).map_err(|e| words(&e))?;
            prctl::set_keepcaps(false).map_err(|e| words(&e))?;
        }
        caps::set(None, CapSet::Effective, &stay).map_err(|e| words(&e))?;
        caps::set(None, CapSet::Permitted, &stay).map_err(|e| words(&e))?;
        let _ = caps::clear(None, CapSet::Inheritable);
        prctl::set_no_new_privs().map_err(|e| words(&e))
    }

    /// Who called sudo.
    fn behind_sudo() -> Option<(Uid, Gid)> {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let uid = number("SUDO_UID").filter(|uid| *uid != 0)?;
        Some((Uid::from_raw(uid), Gid::from_raw(number("SUDO_GID")?)))
    }

    pub(super) fn last_capability() -> Result<(), String> {
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::clear(None, set).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    pub(super) fn landlock(write: &[PathBuf], read: &[PathBuf]) -> Result<(), String> {
        let abi = ABI::V5;
        // What libpcap and the terminal look at: interface states, protocol names, the terminal itself.
        let system = ["/sys", "/proc", "/etc"].map(PathBuf::from);
        let terminal = ["/dev/tty", "/dev/null", "/dev/pts"].map(PathBuf::from);
        let readable = system.iter().chain(read).filter(|p| p.exists());
        let writable = write.iter().chain(&terminal).filter(|p| p.exists());
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(abi))
            .and_then(|r| r.handle_access(AccessNet::from_all(abi)))
            .and_then(|r| r.create())
            .and_then(|r| r.add_rules(path_beneath_rules(readable, AccessFs::from_read(abi))))
            .and_then(|r| r.add_rules(path_beneath_rules(writable, AccessFs::from_all(abi))))
            .and_then(|r| r.restrict_self())
            .map_err(|e| e.to_string())?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err("this kernel has no Landlock".into()),
            RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
        }
    }

    /// No program, no other process, no module, no mount: what nothing in this program calls.
    const NEVER: &[libc::c_long] = &[
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_io_uring_setup,
        libc::SYS_memfd_create,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_kill,
        libc::SYS_tkill,
    ];
    /// New ways to the network. Accepting on the metrics listener, which is open already, stays; so do pairs within the process.
    const NETWORK: &[libc::c_long] = &[libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];

    pub(super) fn seccomp(stage: Stage) -> Result<(), String> {
        let calls = match stage {
            Stage::All => NEVER,
            Stage::Network => NETWORK,
        };
        let arch = std::env::consts::ARCH.try_into().map_err(|_| format!("no filter for {}", std::env::consts::ARCH))?;
        let rules = calls.iter().map(|n| (*n, Vec::new())).collect();
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(|e| e.to_string())?;
        let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
        seccompiler::apply_filter(&program).map_err(|e| e.to_string())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::PathBuf;

    pub(super) enum Stage {
        All,
        Network,
    }

    const NONE: &str = "only known on Linux";

    pub(super) fn rights(_: bool) -> Result<(), String> {
        Err(NONE.into())
    }
    pub(super) fn last_capability() -> Result<(), String> {
        Err(NONE.into())
    }
    pub(super) fn landlock(_: &[PathBuf], _: &[PathBuf]) -> Result<(), String> {
        Err(NONE.into())
    }
    pub(super) fn seccomp(stage: Stage) -> Result<(), String> {
        match stage {
            Stage::All | Stage::Network => Err(NONE.into()),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// In a thread of its own: what is given up there stays with the others.
    fn apart<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(act).join().unwrap()
    }

    #[test]
    fn after_the_last_step_no_program_starts_and_no_socket_opens() {
        let seen = apart(|| {
            let mut s = Sandbox::new(cli::Sandbox::Best);
            // Changing the user would change it for all threads.
            if std::env::var_os("SUDO_UID").is_none() {
                s.rights().unwrap();
            }
            s.step("x", || system::seccomp(system::Stage::All)).unwrap();
            s.network().unwrap();
            let ran = std::process::Command::new("/bin/true").status().is_ok();
            let open = |kind| {
                use nix::sys::socket::{AddressFamily, SockFlag, socket};
                socket(AddressFamily::Inet, kind, SockFlag::empty(), None).map(drop)
            };
            // Not for want of a right: TCP and UDP are anybody's.
            let sockets = [nix::sys::socket::SockType::Datagram, nix::sys::socket::SockType::Stream].map(open);
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
            (s.missing().to_vec(), ran, sockets, field("CapEff:"), field("CapPrm:"), field("NoNewPrivs:"))
        });
        let zero = Some("0000000000000000".to_owned());
        if seen.0.iter().any(|m| m.contains("seccomp")) {
            eprintln!("skipped: {:?}", seen.0);
            return;
        }
        assert_eq!((seen.1, seen.2), (false, [Err(nix::errno::Errno::EPERM); 2]), "{:?}", seen.0);
        assert_eq!((seen.3, seen.4, seen.5.as_deref()), (zero.clone(), zero, Some("1")));
    }

    #[test]
    fn no_file_is_made_or_read_outside_the_places_that_were_named() {
        let root = std::env::temp_dir().join(format!("tamperscope-landlock-{}", std::process::id()));
        let at = |name: &str| root.join(name);
        for place in ["out", "rules", "else"] {
            std::fs::create_dir_all(at(place)).unwrap();
            std::fs::write(at(place).join("old"), "x").unwrap();
        }
        let seen = apart({
            let root = root.clone();
            move || {
                // Without it an ordinary user may not restrict himself.
                nix::sys::prctl::set_no_new_privs().map_err(|e| e.to_string())?;
                system::landlock(&[root.join("out")], &[root.join("rules")])?;
                let write = |place: &str| std::fs::write(root.join(place).join("new"), "y").map_err(|e| e.kind());
                let read = |place: &str| std::fs::read(root.join(place).join("old")).map(|_| ()).map_err(|e| e.kind());
                // What an editor does: another file takes the name.
                let replaced = std::fs::rename(root.join("out/old"), root.join("out/older")).map_err(|e| e.kind());
                Ok::<_, String>(([write("out"), write("rules"), write("else")], [read("rules"), read("else")], replaced))
            }
        });
        let denied = Err(std::io::ErrorKind::PermissionDenied);
        match seen {
            Err(why) => eprintln!("skipped: {why}"),
            Ok(seen) => assert_eq!(seen, ([Ok(()), denied, denied], [Ok(()), denied], Ok(()))),
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn strict_says_what_is_missing_and_best_goes_on() {
        let refuse = || Err("no such thing".to_owned());
        let mut strict = Sandbox::new(cli::Sandbox::Strict);
        assert!(strict.step("files", refuse).unwrap_err().contains("--sandbox best does without"));
        let mut best = Sandbox::new(cli::Sandbox::Best);
        assert_eq!(best.step("files", refuse), Ok(()));
        assert_eq!(best.missing(), ["files are not given up: no such thing"]);
        let mut off = Sandbox::new(cli::Sandbox::Off);
        assert_eq!(off.step("files", || panic!("off does nothing")), Ok(()));
    }
}
