//! The lists: what every container may call, and what some capabilities add.

use std::collections::BTreeMap;

use libc::c_long;

use crate::spec::CapabilitySet;

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Allow,
    /// Fails with this error.
    Fail(i32),
    /// Allowed if none of these bits is set in the argument of this index.
    IfClear {
        argument: u32,
        bits: u32,
    },
    /// Allowed if the argument of this index is another number.
    IfNot {
        argument: u32,
        number: u32,
    },
    /// Allowed if the argument of this index is one of these.
    IfOneOf {
        argument: u32,
        numbers: &'static [u32],
    },
}

/// By call number. What is missing fails with EPERM up to the last known number, and with ENOSYS beyond it.
pub(super) type Rules = BTreeMap<u32, Rule>;

/// Numbers since 424 are the same on every architecture.
mod since_424 {
    use libc::c_long;

    pub(super) const PIDFD_SEND_SIGNAL: c_long = 424;
    pub(super) const OPEN_TREE: c_long = 428;
    pub(super) const MOVE_MOUNT: c_long = 429;
    pub(super) const FSOPEN: c_long = 430;
    pub(super) const FSCONFIG: c_long = 431;
    pub(super) const FSMOUNT: c_long = 432;
    pub(super) const FSPICK: c_long = 433;
    pub(super) const PIDFD_OPEN: c_long = 434;
    pub(super) const CLONE3: c_long = 435;
    pub(super) const CLOSE_RANGE: c_long = 436;
    pub(super) const OPENAT2: c_long = 437;
    pub(super) const PIDFD_GETFD: c_long = 438;
    pub(super) const FACCESSAT2: c_long = 439;
    pub(super) const PROCESS_MADVISE: c_long = 440;
    pub(super) const EPOLL_PWAIT2: c_long = 441;
    pub(super) const MOUNT_SETATTR: c_long = 442;
    pub(super) const QUOTACTL_FD: c_long = 443;
    pub(super) const LANDLOCK_CREATE_RULESET: c_long = 444;
    pub(super) const LANDLOCK_ADD_RULE: c_long = 445;
    pub(super) const LANDLOCK_RESTRICT_SELF: c_long = 446;
    pub(super) const MEMFD_SECRET: c_long = 447;
    pub(super) const PROCESS_MRELEASE: c_long = 448;
    pub(super) const FUTEX_WAITV: c_long = 449;
    pub(super) const SET_MEMPOLICY_HOME_NODE: c_long = 450;
    pub(super) const CACHESTAT: c_long = 451;
    pub(super) const FCHMODAT2: c_long = 452;
    pub(super) const MAP_SHADOW_STACK: c_long = 453;
    pub(super) const FUTEX_WAKE: c_long = 454;
    pub(super) const FUTEX_WAIT: c_long = 455;
    pub(super) const FUTEX_REQUEUE: c_long = 456;
    pub(super) const STATMOUNT: c_long = 457;
    pub(super) const LISTMOUNT: c_long = 458;
    pub(super) const MSEAL: c_long = 462;
    pub(super) const SETXATTRAT: c_long = 463;
    pub(super) const GETXATTRAT: c_long = 464;
    pub(super) const LISTXATTRAT: c_long = 465;
    pub(super) const REMOVEXATTRAT: c_long = 466;
}

/// The newest call that was looked at when these lists were last revised (`open_tree_attr`).
pub(super) const LAST_KNOWN: u32 = 467;

use since_424::*;

/// Allowed to everybody, on every architecture.
const COMMON: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_adjtimex,
    libc::SYS_bind,
    libc::SYS_brk,
    CACHESTAT,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_chdir,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    CLOSE_RANGE,
    libc::SYS_connect,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    EPOLL_PWAIT2,
    libc::SYS_eventfd2,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    FACCESSAT2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fanotify_mark,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    FUTEX_REQUEUE,
    FUTEX_WAIT,
    FUTEX_WAITV,
    FUTEX_WAKE,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getitimer,
    libc::SYS_getpeername,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_getxattr,
    GETXATTRAT,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_io_cancel,
    libc::SYS_io_destroy,
    libc::SYS_io_getevents,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_ioctl,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_kill,
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    libc::SYS_lgetxattr,
    libc::SYS_linkat,
    libc::SYS_listen,
    LISTMOUNT,
    libc::SYS_listxattr,
    LISTXATTRAT,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lseek,
    libc::SYS_lsetxattr,
    libc::SYS_madvise,
    MAP_SHADOW_STACK,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    MEMFD_SECRET,
    libc::SYS_mincore,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mq_getsetattr,
    libc::SYS_mq_notify,
    libc::SYS_mq_open,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_unlink,
    libc::SYS_mremap,
    MSEAL,
    libc::SYS_msgctl,
    libc::SYS_msgget,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_munmap,
    libc::SYS_name_to_handle_at,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    OPENAT2,
    PIDFD_OPEN,
    PIDFD_SEND_SIGNAL,
    libc::SYS_pipe2,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_prlimit64,
    PROCESS_MRELEASE,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pselect6,
    libc::SYS_ptrace,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_remap_file_pages,
    libc::SYS_removexattr,
    REMOVEXATTRAT,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_seccomp,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setitimer,
    libc::SYS_setpgid,
    libc::SYS_setpriority,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setrlimit,
    libc::SYS_setsid,
    libc::SYS_setsockopt,
    libc::SYS_setuid,
    libc::SYS_setxattr,
    SETXATTRAT,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_shmget,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_statfs,
    STATMOUNT,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_sysinfo,
    libc::SYS_tee,
    libc::SYS_tgkill,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    libc::SYS_tkill,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_vmsplice,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The older calls that only this architecture still has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_ctl_old,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_wait_old,
    libc::SYS_eventfd,
    libc::SYS_fork,
    libc::SYS_futimesat,
    libc::SYS_get_thread_area,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_inotify_init,
    IO_PGETEVENTS,
    libc::SYS_lchown,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_modify_ldt,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_set_thread_area,
    libc::SYS_signalfd,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_vfork,
];
#[cfg(target_arch = "x86_64")]
const IO_PGETEVENTS: c_long = 333;
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[292]; // io_pgetevents in the generic table

/// What a capability adds. The kernel checks the capability as well; without it the call need not be reachable.
fn added_by_capability() -> Vec<(&'static str, Vec<c_long>)> {
    #[cfg(target_arch = "x86_64")]
    let raw_io = vec![libc::SYS_iopl, libc::SYS_ioperm];
    #[cfg(not(target_arch = "x86_64"))]
    let raw_io = vec![];
    let admin = vec![
        libc::SYS_bpf,
        libc::SYS_clone,
        CLONE3,
        libc::SYS_fanotify_init,
        FSCONFIG,
        FSMOUNT,
        FSOPEN,
        FSPICK,
        libc::SYS_mount,
        MOUNT_SETATTR,
        MOVE_MOUNT,
        OPEN_TREE,
        libc::SYS_perf_event_open,
        libc::SYS_quotactl,
        QUOTACTL_FD,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_unshare,
    ];
    let nice = vec![libc::SYS_get_mempolicy, libc::SYS_mbind, libc::SYS_set_mempolicy, SET_MEMPOLICY_HOME_NODE];
    vec![
        ("DAC_READ_SEARCH", vec![libc::SYS_open_by_handle_at]),
        ("SYS_ADMIN", admin),
        ("SYS_BOOT", vec![libc::SYS_reboot]),
        ("SYS_CHROOT", vec![libc::SYS_chroot]),
        ("SYS_MODULE", vec![libc::SYS_delete_module, libc::SYS_init_module, libc::SYS_finit_module]),
        ("SYS_PACCT", vec![libc::SYS_acct]),
        ("SYS_PTRACE", vec![libc::SYS_kcmp, PIDFD_GETFD, PROCESS_MADVISE]),
        ("SYS_RAWIO", raw_io),
        ("SYS_TIME", vec![libc::SYS_settimeofday, libc::SYS_clock_settime]),
        ("SYS_TTY_CONFIG", vec![libc::SYS_vhangup]),
        ("SYS_NICE", nice),
        ("SYSLOG", vec![libc::SYS_syslog]),
        ("BPF", vec![libc::SYS_bpf]),
        ("PERFMON", vec![libc::SYS_perf_event_open]),
    ]
}

/// Every `CLONE_NEW…` flag that `clone` takes: a container without SYS_ADMIN makes no namespaces, not even a user one.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
const PERSONALITIES: &[u32] = &[0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
const AF_VSOCK: u32 = 40;

/// The rules for a container with these capabilities.
pub(super) fn rules(capabilities: CapabilitySet) -> Rules {
    let number = |call: c_long| u32::try_from(call).ok();
    let mut rules: Rules = COMMON.iter().chain(OLDER).filter_map(|call| Some((number(*call)?, Rule::Allow))).collect();
    let mut set = |call: c_long, rule: Rule| rules.extend(number(call).map(|number| (number, rule)));
    set(libc::SYS_clone, Rule::IfClear { argument: 0, bits: NAMESPACE_FLAGS });
    // Its flags lie in memory, where a filter cannot look; the C library falls back to `clone`.
    set(CLONE3, Rule::Fail(libc::ENOSYS));
    set(libc::SYS_personality, Rule::IfOneOf { argument: 0, numbers: PERSONALITIES });
    // Sockets to the hypervisor have no network namespace.
    set(libc::SYS_socket, Rule::IfNot { argument: 0, number: AF_VSOCK });
    for (name, calls) in added_by_capability() {
        let needed = CapabilitySet::parse(&[name.to_owned()]).unwrap_or(CapabilitySet::ALL);
        if capabilities.contains(needed) {
            calls.into_iter().for_each(|call| set(call, Rule::Allow));
        }
    }
    rules
}
