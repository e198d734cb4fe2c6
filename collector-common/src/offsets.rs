//! Where the running kernel keeps what the programs read: one row per field, resolved from BTF by userspace before
//! the load and frozen into the object's constants.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A row of [`Offsets`]: a field's name and where BTF finds it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name in [`Offsets`].
    pub name: &'static str,
    /// BTF paths (`struct.member.member[index]`, anonymous members skipped), the first that resolves is taken. Kernels
    /// renamed some.
    pub paths: &'static [&'static str],
    /// Whether the programs work without it.
    pub optional: bool,
}

macro_rules! offsets {
    ($( $(#[$doc:meta])* $name:ident: [$($path:literal),+] $(, $optional:ident)?; )*) => {
        /// Byte offsets within the running kernel's structs.
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
        pub struct Offsets { $( $(#[$doc])* pub $name: u32, )* }

        impl Offsets {
            /// The offset of a field that this kernel does not have.
            pub const ABSENT: u32 = u32::MAX;

            /// No field known.
            pub const NONE: Self = Self { $( $name: Self::ABSENT, )* };

            /// The rows, in the order of the struct's fields.
            pub const FIELDS: &'static [Field] = &[ $( Field {
                name: stringify!($name), paths: &[$($path),+], optional: offsets!(@optional $($optional)?),
            }, )* ];
        }
    };
    (@optional optional) => { true };
    (@optional) => { false };
}

offsets! {
    /// Parent as of fork or reparenting, not a tracer.
    task_real_parent: ["task_struct.real_parent"];
    /// Leader of the thread group.
    task_group_leader: ["task_struct.group_leader"];
    /// Process id.
    task_tgid: ["task_struct.tgid"];
    /// Thread id.
    task_pid: ["task_struct.pid"];
    /// Start time; named `real_start_time` before 5.5.
    task_start_boottime: ["task_struct.start_boottime", "task_struct.real_start_time"];
    /// Memory map.
    task_mm: ["task_struct.mm"];
    /// Subjective credentials.
    task_cred: ["task_struct.cred"];
    /// Only with CONFIG_AUDIT.
    task_loginuid: ["task_struct.loginuid.val"], optional;
    /// Only with CONFIG_AUDIT.
    task_sessionid: ["task_struct.sessionid"], optional;
    /// Namespaces but for pid and user.
    task_nsproxy: ["task_struct.nsproxy"];
    /// The thread's pid in every namespace.
    task_thread_pid: ["task_struct.thread_pid"];
    /// Root and working directory.
    task_fs: ["task_struct.fs"];
    /// What the threads of a process share.
    task_signal: ["task_struct.signal"];
    /// What a thread ended with.
    task_exit_code: ["task_struct.exit_code"];
    /// Work to be done before the return to user mode: files being closed.
    task_works: ["task_struct.task_works"];
    /// The cgroups it is in.
    task_cgroups: ["task_struct.cgroups"], optional;
    /// The one of the unified hierarchy.
    css_set_cgroup: ["css_set.dfl_cgrp"], optional;
    /// Its node in the hierarchy.
    cgroup_node: ["cgroup.kn"], optional;
    /// The node's id; a union of several before 5.5.
    node_id: ["kernfs_node.id"], optional;
    /// How many are above it.
    cgroup_level: ["cgroup.level"], optional;
    /// Their ids and its own, from the root on; pointers to them since 6.1, under another name.
    cgroup_ancestor_ids: ["cgroup.ancestor_ids"], optional;
    /// The hierarchy it is in.
    cgroup_root: ["cgroup.root"], optional;
    /// 0 for the unified one.
    cgroup_root_hierarchy: ["cgroup_root.hierarchy_id"], optional;
    /// Its directory.
    cgroup_directory: ["cgroup.kn"], optional;
    /// The directory's inode number, which is the cgroup's id (5.5 and newer).
    kernfs_node_id: ["kernfs_node.id"], optional;
    /// Threads that have not begun to exit.
    signal_live: ["signal_struct.live.counter"];
    /// SIGNAL_GROUP_EXIT and others.
    signal_flags: ["signal_struct.flags"];
    /// What the whole process ended with.
    signal_group_exit_code: ["signal_struct.group_exit_code"];
    /// Real user.
    cred_uid: ["cred.uid.val"];
    /// Real group.
    cred_gid: ["cred.gid.val"];
    /// Effective user.
    cred_euid: ["cred.euid.val"];
    /// Effective group.
    cred_egid: ["cred.egid.val"];
    /// Two 32-bit words before 6.3, one of 64 bits since; the same bytes.
    cred_cap_effective: ["cred.cap_effective"];
    /// User namespace.
    cred_user_ns: ["cred.user_ns"];
    /// Inode number.
    user_ns_inum: ["user_namespace.ns.inum"];
    /// Mount namespace.
    nsproxy_mnt_ns: ["nsproxy.mnt_ns"];
    /// Network namespace.
    nsproxy_net_ns: ["nsproxy.net_ns"];
    /// Inode number.
    mnt_ns_inum: ["mnt_namespace.ns.inum"];
    /// Inode number.
    net_ns_inum: ["net.ns.inum"];
    /// Inode number.
    pid_ns_inum: ["pid_namespace.ns.inum"];
    /// How many namespaces the pid is in, less one.
    pid_level: ["pid.level"];
    /// One `upid` per level.
    pid_numbers: ["pid.numbers"];
    /// The number.
    upid_nr: ["upid.nr"];
    /// The namespace.
    upid_ns: ["upid.ns"];
    /// First byte of the arguments.
    mm_arg_start: ["mm_struct.arg_start"];
    /// Byte behind the arguments.
    mm_arg_end: ["mm_struct.arg_end"];
    /// The running file.
    mm_exe_file: ["mm_struct.exe_file"];
    /// The file that runs (the interpreter's, for a script).
    bprm_file: ["linux_binprm.file"];
    /// The name as requested.
    bprm_filename: ["linux_binprm.filename"];
    /// The interpreter's name, or the filename itself.
    bprm_interp: ["linux_binprm.interp"];
    /// Descriptor of a file that the kernel has opened for its interpreter; 0: none.
    bprm_execfd: ["linux_binprm.execfd"];
    /// Mount of the file.
    file_mnt: ["file.f_path.mnt"];
    /// Name of the file.
    file_dentry: ["file.f_path.dentry"];
    /// The inode.
    file_inode: ["file.f_inode"];
    /// Open flags, the kernel's own among them.
    file_flags: ["file.f_flags"];
    /// Credentials of who opened the file.
    file_cred: ["file.f_cred"];
    /// The callback with which a file is closed late.
    file_task_work: ["file.f_task_work", "file.f_rcuhead", "file.f_u.fu_rcuhead"];
    /// Mount of the working directory.
    fs_pwd_mnt: ["fs_struct.pwd.mnt"];
    /// The working directory.
    fs_pwd_dentry: ["fs_struct.pwd.dentry"];
    /// Inode number.
    inode_ino: ["inode.i_ino"];
    /// Links.
    inode_nlink: ["inode.i_nlink"];
    /// Filesystem.
    inode_sb: ["inode.i_sb"];
    /// Device.
    sb_dev: ["super_block.s_dev"];
    /// The directory above.
    dentry_parent: ["dentry.d_parent"];
    /// Inode of the name.
    dentry_inode: ["dentry.d_inode"];
    /// Counts what changes a name or its directory; odd while it changes.
    dentry_seq: ["dentry.d_seq.seqcount.sequence"];
    /// Length of the name.
    dentry_name_len: ["dentry.d_name.len"];
    /// The name.
    dentry_name: ["dentry.d_name.name"];
    /// Short names, within the dentry.
    dentry_inline: ["dentry.d_shortname", "dentry.d_iname"];
    /// The part of a mount that other code sees.
    mount_mnt: ["mount.mnt"];
    /// The mount it is mounted on.
    mount_parent: ["mount.mnt_parent"];
    /// Where on it.
    mount_mountpoint: ["mount.mnt_mountpoint"];
    /// Root of the mounted tree.
    vfsmount_root: ["vfsmount.mnt_root"];
    /// Next callback.
    callback_next: ["callback_head.next"];
    /// Open files.
    task_files: ["task_struct.files"];
    /// The task's name, 16 bytes.
    task_comm: ["task_struct.comm"];
    /// The table of descriptors.
    files_fdt: ["files_struct.fdt"];
    /// Its files.
    fdt_files: ["fdtable.fd"];
    /// The first table's files.
    files_own: ["files_struct.fd_array"];
    /// The kernel's own bits of an open file.
    file_mode: ["file.f_mode"];
    /// Lowest address of the kernel stack.
    task_stack: ["task_struct.stack"];
    /// Says, in one bit, whether the task is in a system call of the 32-bit ABI: x86, then arm64.
    task_compat: ["task_struct.thread_info.status", "task_struct.thread_info.flags"], optional;
    /// First argument of a system call: x86, then arm64, whose first register also takes the result.
    regs_arg0: ["pt_regs.di", "pt_regs.orig_x0"];
    /// Second argument.
    regs_arg1: ["pt_regs.si", "pt_regs.regs[1]"];
    /// Third argument.
    regs_arg2: ["pt_regs.dx", "pt_regs.regs[2]"];
    /// Fourth argument.
    regs_arg3: ["pt_regs.r10", "pt_regs.regs[3]"];
    /// First argument of a 32-bit call on x86; the third and fourth lie where a native call has its third and second.
    regs_compat0: ["pt_regs.bx"], optional;
    /// Second argument of such a call.
    regs_compat1: ["pt_regs.cx"], optional;
    /// Number of the system call.
    regs_number: ["pt_regs.orig_ax", "pt_regs.syscallno"];
    /// PF_KTHREAD and others.
    task_flags: ["task_struct.flags"];
    /// Its length.
    fdt_max: ["fdtable.max_fds"];
    /// A socket, for files of sockets.
    file_private: ["file.private_data"];
    /// Kind of file.
    inode_mode: ["inode.i_mode"];
    /// The socket's file.
    socket_file: ["socket.file"];
    /// The socket's other half.
    socket_sk: ["socket.sk"];
    /// Address family.
    sock_family: ["sock.__sk_common.skc_family"];
    /// Whether it is connected, of sockets that know.
    sock_state: ["sock.__sk_common.skc_state"];
    /// Remote port, in network byte order.
    sock_dport: ["sock.__sk_common.skc_dport"];
    /// Local port.
    sock_num: ["sock.__sk_common.skc_num"];
    /// Remote IPv4 address.
    sock_daddr: ["sock.__sk_common.skc_daddr"];
    /// Local IPv4 address.
    sock_rcv_saddr: ["sock.__sk_common.skc_rcv_saddr"];
    /// Remote IPv6 address; only with CONFIG_IPV6.
    sock_v6_daddr: ["sock.__sk_common.skc_v6_daddr"], optional;
    /// Local IPv6 address; only with CONFIG_IPV6.
    sock_v6_rcv_saddr: ["sock.__sk_common.skc_v6_rcv_saddr"], optional;
    /// Cookie, 0 until somebody asks for it.
    sock_cookie: ["sock.__sk_common.skc_cookie.counter"];
    /// Protocol.
    sock_protocol: ["sock.sk_protocol"];
    /// Type.
    sock_type: ["sock.sk_type"];
    /// Pending error.
    sock_err: ["sock.sk_err"];
    /// What user space has of it.
    sock_socket: ["sock.sk_socket"];
    /// Local port in network byte order, also when the socket is unhashed already.
    inet_sport: ["inet_sock.inet_sport"];
    /// What a request of io_uring is to do.
    request_opcode: ["io_kiocb.opcode"], optional;
    /// What came of it; in one place since 5.19.
    request_result: ["io_kiocb.cqe.res"], optional;
    /// Its ring.
    request_ring: ["io_kiocb.ctx"], optional;
    /// What its kind needs: for an open, `io_open`.
    request_command: ["io_kiocb.cmd", "io_kiocb.open"], optional;
    /// Slot of the ring's table that is to take the file, plus 1; 0 for a descriptor.
    io_open_slot: ["io_open.file_slot"], optional;
    /// The name asked for, until the open was tried.
    io_open_filename: ["io_open.filename"], optional;
    /// Flags.
    io_open_flags: ["io_open.how.flags"], optional;
    /// Mode.
    io_open_mode: ["io_open.how.mode"], optional;
    /// The name itself.
    filename_name: ["filename.name"], optional;
    /// The ring's table of files: nodes since 6.13, before it tagged addresses of files.
    ring_files: ["io_ring_ctx.file_table.data.nodes", "io_ring_ctx.file_table.files"], optional;
    /// A node's tagged address of a file.
    node_file: ["io_rsrc_node.file_ptr"], optional;
}
