/* Who a process is and what it may do: ids, namespaces, capabilities, limits. Most of these change the process and
 * then exec the command behind `--`, under the same pid. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* Execs the command behind `--`; the actor's own alarm does not follow it. */
static int run_rest(int argc, char **argv)
{
    for (int i = 1; i < argc - 1; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        alarm(0);
        execv(argv[i + 1], argv + i + 1);
        broken(argv[i + 1]);
    }
    return 0;
}

static unsigned long long inode_of(const char *path)
{
    struct stat file;
    return stat(path, &file) < 0 ? 0 : (unsigned long long)file.st_ino;
}

static void read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = 0;
    text[strcspn(text, "\n")] = 0;
}

int do_tell(int argc, char **argv)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    char login[32], session[32];
    getresuid(&ruid, &euid, &suid);
    getresgid(&rgid, &egid, &sgid);
    read_small("/proc/self/loginuid", login, sizeof login);
    read_small("/proc/self/sessionid", session, sizeof session);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2] = {{0}};
    if (syscall(SYS_capget, &header, caps) < 0)
        broken("capget");
    dprintf(1,
            "{\"act\":\"self\",\"pid\":%d,\"ppid\":%d,\"ruid\":%u,\"euid\":%u,\"rgid\":%u,\"egid\":%u,"
            "\"loginuid\":\"%s\",\"session\":\"%s\",\"caps\":%llu,"
            "\"ns\":{\"pid\":%llu,\"mnt\":%llu,\"net\":%llu,\"user\":%llu}}\n",
            getpid(), getppid(), ruid, euid, rgid, egid, login, session,
            (unsigned long long)caps[1].effective << 32 | caps[0].effective, inode_of("/proc/self/ns/pid"),
            inode_of("/proc/self/ns/mnt"), inode_of("/proc/self/ns/net"), inode_of("/proc/self/ns/user"));
    return run_rest(argc, argv);
}

int do_uid(int argc, char **argv)
{
    uid_t uid = (uid_t)number(argv[1], 65534);
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        refused("setresuid");
    return run_rest(argc, argv);
}

int do_ns(int argc, char **argv)
{
    int flags = 0;
    for (char *name = strtok(strdup(argv[1]), ","); name; name = strtok(NULL, ","))
        flags |= strcmp(name, "mnt") == 0    ? CLONE_NEWNS
                 : strcmp(name, "net") == 0  ? CLONE_NEWNET
                 : strcmp(name, "user") == 0 ? CLONE_NEWUSER
                 : strcmp(name, "uts") == 0  ? CLONE_NEWUTS
                                             : 0;
    if (unshare(flags) < 0)
        refused("unshare");
    return run_rest(argc, argv);
}

int do_pidns(int argc, char **argv)
{
    (void)argc;
    int ends[2];
    struct {
        pid_t inner;
        unsigned long long ns;
    } word;
    char more[96];
    if (pipe2(ends, O_CLOEXEC) < 0)
        broken("pipe2");
    if (unshare(CLONE_NEWPID) < 0)
        refused("unshare");
    uint64_t began = now_ns();
    pid_t pid = fork();
    if (pid < 0)
        broken("fork");
    if (pid == 0) {
        memset(&word, 0, sizeof word);
        word.inner = getpid();
        word.ns = inode_of("/proc/self/ns/pid_for_children");
        if (write(ends[1], &word, sizeof word) != sizeof word)
            _exit(ACTOR_BROKEN);
        execv(argv[1], argv + 1);
        _exit(ACTOR_EXEC_FAILED);
    }
    if (read(ends[0], &word, sizeof word) != sizeof word)
        broken("the child's word");
    struct child child = reap(pid, began);
    snprintf(more, sizeof more, ",\"inner\":%d,\"ns_pid\":%llu", word.inner, word.ns);
    tell_child(&child, more);
    return 0;
}

int do_timens(int argc, char **argv)
{
    if (unshare(CLONE_NEWTIME) < 0)
        refused("unshare");
    int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || dprintf(fd, "boottime %s 0\n", argv[1]) < 0)
        refused("writing timens_offsets");
    close(fd);
    /* Its children are in the namespace, and it is not. */
    pid_t pid = fork();
    if (pid < 0)
        broken("fork");
    if (pid == 0)
        return run_rest(argc, argv);
    int status;
    alarm(0);
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        broken("the command");
    return WEXITSTATUS(status);
}

int do_loginuid(int argc, char **argv)
{
    int fd = open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, argv[1], strlen(argv[1])) < 0)
        refused("writing loginuid");
    close(fd);
    return run_rest(argc, argv);
}

int do_dropcap(int argc, char **argv)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2];
    if (syscall(SYS_capget, &header, caps) < 0)
        broken("capget");
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        long cap = number(argv[i], 63);
        /* The bounding set, or root's exec would give it back. */
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
            refused("dropping a capability");
        uint32_t without = ~(1u << cap % 32);
        caps[cap / 32].effective &= without;
        caps[cap / 32].permitted &= without;
        caps[cap / 32].inheritable &= without;
    }
    if (syscall(SYS_capset, &header, caps) < 0)
        refused("capset");
    return run_rest(argc, argv);
}

int do_uid_caps(int argc, char **argv)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2] = {0};
    uid_t uid = (uid_t)number(argv[1], 1L << 31);
    int last = 2;
    for (; last < argc && strcmp(argv[last], "--") != 0; last++) {
        long cap = number(argv[last], 63);
        caps[cap / 32].permitted |= 1u << cap % 32;
    }
    for (int i = 0; i < 2; i++)
        caps[i].effective = caps[i].inheritable = caps[i].permitted;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(uid, uid, uid) < 0 ||
        syscall(SYS_capset, &header, caps) < 0)
        refused("capset");
    for (int i = 2; i < last; i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number(argv[i], 63), 0, 0) < 0)
            refused("an ambient capability");
    return run_rest(argc, argv);
}

int do_memlock(int argc, char **argv)
{
    rlim_t bytes = (rlim_t)number(argv[1], 1L << 40);
    struct rlimit limit = {bytes, bytes};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        refused("setrlimit");
    return run_rest(argc, argv);
}

int do_nobtf(int argc, char **argv)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        refused("unshare");
    if (mount("none", "/sys/kernel/btf", "tmpfs", 0, NULL) < 0)
        refused("mount");
    return run_rest(argc, argv);
}

int do_notracefs(int argc, char **argv)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        refused("unshare");
    /* Covered, since it may be mounted in more than one place, and debugfs mounts it by itself. */
    if (mount("none", "/sys/kernel/tracing", "tmpfs", 0, NULL) < 0)
        refused("mount");
    if (mount("none", "/sys/kernel/debug", "tmpfs", 0, NULL) < 0 && errno != ENOENT)
        refused("mount");
    return run_rest(argc, argv);
}

int do_gate(int argc, char **argv)
{
    char byte;
    dprintf(1, "{\"act\":\"gate\",\"pid\":%d}\n", getpid());
    if (read(0, &byte, 1) != 1)
        return ACTOR_BROKEN;
    return run_rest(argc, argv);
}

static long bpf(int command, union bpf_attr *attr)
{
    return syscall(SYS_bpf, command, attr, sizeof *attr);
}

int do_probe_bpf(int argc, char **argv)
{
    (void)argc;
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    if (strcmp(argv[1], "map") == 0) {
        attr.map_type = BPF_MAP_TYPE_ARRAY;
        attr.key_size = 4;
        attr.value_size = 4096;
        attr.max_entries = 16;
        if (bpf(BPF_MAP_CREATE, &attr) < 0)
            refused("BPF_MAP_CREATE");
        dprintf(1, "{\"act\":\"bpf\"}\n");
        return 0;
    }
    /* r0 = 0; exit */
    static const struct bpf_insn nothing[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    attr.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
    attr.insns = (uint64_t)(uintptr_t)nothing;
    attr.insn_cnt = 2;
    attr.license = (uint64_t)(uintptr_t) "GPL";
    long program = bpf(BPF_PROG_LOAD, &attr);
    if (program < 0)
        refused("BPF_PROG_LOAD");
    memset(&attr, 0, sizeof attr);
    attr.raw_tracepoint.name = (uint64_t)(uintptr_t) "sched_process_exec";
    attr.raw_tracepoint.prog_fd = (uint32_t)program;
    if (bpf(BPF_RAW_TRACEPOINT_OPEN, &attr) < 0)
        refused("BPF_RAW_TRACEPOINT_OPEN");
    dprintf(1, "{\"act\":\"bpf\"}\n");
    return 0;
}
