//! What a decoding process gives up before it looks at a picture: files, the network, other programs, and more memory than a
//! picture may cost. A fault in a decoder, even one that runs foreign code, then has nothing to reach for. On Linux the kernel
//! filters calls; elsewhere there are limits alone, under which nothing can be opened or started.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space beside what a picture may take: the program itself, its stack, the picture's file and result.
const ADDRESS_SPACE_BYTES: u64 = 1 << 30;

/// Ends with an error if the limits cannot be set; Landlock is left out where the kernel does not know it.
pub(super) fn enter(memory_bytes_max: u64) -> io::Result<()> {
    // macOS does not hold anybody to such a limit; there a picture's memory is bounded by its header alone.
    if cfg!(target_os = "linux") {
        let bytes = memory_bytes_max.saturating_mul(2).saturating_add(ADDRESS_SPACE_BYTES);
        limit(Resource::As, bytes)?;
    }
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    // Some containers refuse the calls of Landlock; the filter below forbids the same once more.
    #[cfg(target_os = "linux")]
    let _ = linux::forbid_files_by_landlock();
    // No file or connection can be opened any more, also not in the place of one that is closed; Landlock had to open one.
    limit(Resource::Nofile, 0)?;
    limit(Resource::Nproc, 0)?;
    #[cfg(target_os = "linux")]
    linux::forbid_calls().map_err(io::Error::other)?;
    Ok(())
}

/// Says in the log where decoding processes are less enclosed than they could be.
pub(super) fn tell_what_is_missing() {
    if !cfg!(target_os = "linux") {
        tracing::warn!(
            "AVIF and JPEG XL are decoded in processes that can open no file and no connection and start no program, but this system has no filter of calls like Linux: one that is taken over could still delete or rename files of this user"
        );
    }
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr};
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    /// Calls that lead out of the process. They fail as not permitted; whoever decodes needs none of them.
    const FORBIDDEN: &[libc::c_long] = &[
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_mknodat,
        libc::SYS_linkat,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kill,
        libc::SYS_pidfd_open,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_keyctl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
    ];

    type Reason = Box<dyn std::error::Error + Send + Sync>;

    pub(super) fn forbid_calls() -> Result<(), Reason> {
        let rules = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let here = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, here)?;
        let program: BpfProgram = filter.try_into()?;
        apply_filter(&program)?;
        Ok(())
    }

    pub(super) fn forbid_files_by_landlock() -> Result<(), landlock::RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V5))?
            .create()?
            .restrict_self()?;
        Ok(())
    }
}
