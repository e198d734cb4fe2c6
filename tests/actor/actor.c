/* The actor's entry: the table of subcommands and the helpers they share. See actor.h. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void refused(const char *call)
{
    dprintf(1, "{\"act\":\"refused\",\"call\":\"%s\",\"errno\":%d,\"text\":\"%s\"}\n", call, errno, strerror(errno));
    _exit(ACTOR_REFUSED);
}

void broken(const char *what)
{
    dprintf(2, "actor: %s: %s\n", what, strerror(errno));
    _exit(ACTOR_BROKEN);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

pid_t own_pid(void)
{
    char text[16] = "";
    return readlink("/proc/self", text, sizeof text - 1) > 0 ? (pid_t)strtol(text, NULL, 10) : getpid();
}

long number(const char *text, long max)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || value < 0 || value > max) {
        dprintf(2, "actor: not a number from 0 to %ld: %s\n", max, text);
        _exit(ACTOR_USAGE);
    }
    return value;
}

static uint64_t start_ticks(pid_t pid)
{
    char path[64], stat[4096];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        broken(path);
    ssize_t len = read(fd, stat, sizeof stat - 1);
    close(fd);
    if (len <= 0)
        broken(path);
    stat[len] = 0;
    /* The comm may hold anything; the fields begin behind its last parenthesis with field 3. */
    char *field = strrchr(stat, ')');
    for (int i = 2; field && i < 22; i++)
        field = strchr(field + 1, ' ');
    if (!field)
        broken("a short /proc/PID/stat");
    return strtoull(field, NULL, 10);
}

struct child reap(pid_t pid, uint64_t forked_ns)
{
    struct child child = {.pid = pid};
    siginfo_t info;
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
        if (errno != EINTR)
            broken("waitid");
    child.ticks = start_ticks(pid);
    while (waitpid(pid, &child.status, 0) < 0)
        if (errno != EINTR)
            broken("waitpid");
    child.elapsed_ns = now_ns() - forked_ns;
    return child;
}

void tell_child(const struct child *child, const char *more)
{
    dprintf(1, "{\"act\":\"child\",\"pid\":%d,\"ppid\":%d,\"status\":%d,\"start_ticks\":%llu,\"elapsed_ns\":%llu%s}\n",
            child->pid, getpid(), child->status, (unsigned long long)child->ticks,
            (unsigned long long)child->elapsed_ns, more);
}

void tell_file(int fd)
{
    struct stat file;
    if (fstat(fd, &file) < 0)
        broken("fstat");
    dprintf(1, "{\"act\":\"file\",\"dev\":\"%u:%u\",\"ino\":%llu}\n", major(file.st_dev), minor(file.st_dev),
            (unsigned long long)file.st_ino);
}

void copy_into(const char *path, int fd)
{
    char part[65536];
    ssize_t len;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        broken(path);
    while ((len = read(from, part, sizeof part)) > 0)
        for (ssize_t done = 0, more; done < len; done += more)
            if ((more = write(fd, part + done, (size_t)(len - done))) <= 0)
                broken("write");
    if (len < 0)
        broken(path);
    close(from);
}

char *cold(const char *text)
{
    /* fork() copies no page tables of a shared file mapping: the child's first touch is the kernel's. */
    size_t size = strlen(text) + 1;
    int fd = memfd_create("cold", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        broken("memfd_create");
    char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        broken("mmap");
    close(fd);
    return memcpy(page, text, size);
}

static int do_exit(int argc, char **argv)
{
    return argc > 1 ? (int)number(argv[1], 255) : 0;
}

static const struct {
    const char *name;
    int arguments; /* at least */
    int (*run)(int argc, char **argv);
    const char *usage;
} subcommands[] = {
    {"exit", 0, do_exit, "[CODE]"},
    {"tell", 0, do_tell, "[-- COMMAND..]   says who it is, then execs"},
    {"spawn", 2, do_spawn, "N PATH ARGS..   N times fork and execv; % in ARGS is the child's number modulo 256"},
    {"argv", 1, do_argv, "PATH ARGV0 ARGS..   with an argv[0] of its own, or with no argv at all"},
    {"memfd", 1, do_memfd, "PATH ARGS..   a copy in a memfd"},
    {"unlinked", 1, do_unlinked, "PATH ARGS..   PATH is removed before it runs"},
    {"execveat-fd", 1, do_execveat_fd, "PATH ARGS..   an O_PATH descriptor with AT_EMPTY_PATH"},
    {"procfd", 1, do_procfd, "PATH ARGS..   through /proc/self/fd/N"},
    {"vfork", 1, do_vfork, "PATH ARGS.."},
    {"posix-spawn", 1, do_posix_spawn, "PATH ARGS.."},
    {"orphan", 1, do_orphan, "PATH ARGS..   from a grandchild whose parent has ended and whom the actor took over"},
    {"deep", 3, do_deep, "DIR DEPTH NAME_LEN ARGS..   a copy of itself, relatively, DEPTH directories down"},
    {"thread-exec", 1, do_thread_exec, "PATH ARGS..   from a thread that is not the leader, others running"},
    {"path-race", 3, do_path_race, "N PATH PATH   N children exec a path while a thread changes its one byte"},
    {"ran", 0, do_ran, "says which file it runs"},
    {"leader-first", 3, do_leader_first, "LEADER_CODE LAST_CODE thread|group   the leader ends before the last thread"},
    {"headless", 0, do_headless, "the leader ends, and a thread waits for a byte on stdin"},
    {"short-threads", 2, do_short_threads, "THREADS CODE   threads come and go, then the process ends"},
    {"race", 2, do_race, "N THREADS   N processes whose threads race to exit_group"},
    {"signal", 1, do_signal, "SIGNAL   a child dies by it, without a core dump"},
    {"core", 0, do_core, "a child aborts, with a core dump where allowed"},
    {"live", 2, do_live, "MS CODE   a child that lives that long"},
    {"rename", 1, do_rename, "NAME   a child that names itself so, then ends"},
    {"forks", 1, do_forks, "N   children that end at once, each told"},
    {"storm", 1, do_storm, "N   children that end at once, not told one by one"},
    {"chain", 2, do_chain, "N CODE   execs itself N times, then ends"},
    {"uid", 1, do_uid, "UID -- COMMAND..   all ids set, then exec"},
    {"ns", 1, do_ns, "mnt,net,user,uts -- COMMAND..   unshared, then exec"},
    {"pidns", 1, do_pidns, "PATH ARGS..   as pid 1 of a pid namespace"},
    {"timens", 1, do_timens, "SECONDS -- COMMAND..   in a time namespace that adds these to CLOCK_BOOTTIME"},
    {"loginuid", 1, do_loginuid, "UID -- COMMAND.."},
    {"dropcap", 1, do_dropcap, "NUMBER.. -- COMMAND..   without these capabilities"},
    {"uid-caps", 1, do_uid_caps, "UID NUMBER.. -- COMMAND..   as that user with these capabilities alone"},
    {"memlock", 1, do_memlock, "BYTES -- COMMAND..   with that memlock limit"},
    {"nobtf", 0, do_nobtf, "-- COMMAND..   without /sys/kernel/btf"},
    {"notracefs", 0, do_notracefs, "-- COMMAND..   with no tracefs mounted"},
    {"gate", 0, do_gate, "-- COMMAND..   waits for a byte on stdin"},
    {"opens", 2, do_opens, "DIR N   files of its own, opened in every way, each told"},
    {"failed-opens", 2, do_failed_opens, "DIR N   opens that fail, each told"},
    {"failed-execs", 2, do_failed_execs, "PATH N   execs of a path that is not there"},
    {"deep-open", 2, do_deep_open, "DIR DEPTH   a file that many folders down, reached step by step"},
    {"nameless", 0, do_nameless, "a pipe, opened again through /proc/self/fd"},
    {"open-places", 1, do_open_places, "DIR   through bind mounts, in a chroot, in other namespaces, on detached mounts"},
    {"open-pivoted", 1, do_open_pivoted, "DIR   behind pivot_root"},
    {"open-overlay", 1, do_open_overlay, "DIR   through an overlay"},
    {"open-each", 1, do_open_each, "PATH..   makes and opens each, told by its number"},
    {"interrupted-opens", 2, do_interrupted_opens, "PATH N   of a pipe: N that a signal ends, N that go on after three"},
    {"mixed-opens", 3, do_mixed_opens, "DIR PROCESSES N   threads that open N files each; then DIR/actor is executed"},
    {"moved-opens", 2, do_moved_opens, "DIR N   of a file below folders that a thread moves"},
    {"uring-opens", 3, do_uring_opens, "DIR N inline|async|sqpoll   files opened through io_uring, ten at a time, each told"},
    {"uring-direct", 2, do_uring_direct, "DIR N   files opened into the ring's own table, each told"},
    {"connects", 1, do_connects, "N   rounds of all kinds of connections on the loopback"},
    {"unreachable", 1, do_unreachable, "N   where there is no way"},
    {"timeouts", 1, do_timeouts, "N   pending ones and a blocking one to which nobody answers"},
    {"interrupted", 0, do_interrupted, "a blocking one that a signal interrupts"},
    {"given-up", 0, do_given_up, "blocking ones to which nobody answers, and which another thread gives up"},
    {"fastopen", 1, do_fastopen, "N   TCP Fast Open"},
    {"ia32", 1, do_ia32, "N   32-bit calls, half of them through socketcall, half of them not waiting"},
    {"ia32-udp", 1, do_ia32_udp, "N   UDP sockets of each family, by 32-bit calls, half of them through socketcall"},
    {"uring", 1, do_uring, "N   through io_uring, half of them by its workers"},
    {"uring-udp", 1, do_uring_udp, "N   UDP sockets of each family, through io_uring, half of them by its workers"},
    {"datagrams", 1, do_datagrams, "N   sockets that send to two addresses each, by sendto, sendmsg and sendmmsg"},
    {"unbound", 1, do_unbound, "N   of each family, by sockets that were not bound before"},
    {"mptcp", 1, do_mptcp, "N   by multipath TCP"},
    {"unix-types", 1, do_unix_types, "N   datagram and packet sockets, every other to nobody"},
    {"unix-names", 1, do_unix_names, "NAME..   to nobody, as a path and as an abstract name, told by number"},
    {"families", 0, do_families, "netlink, and vsock where there is any"},
    {"uring-polled", 1, do_uring_polled, "N   through io_uring, by its polling thread"},
    {"fastopen-ways", 2, do_fastopen_ways, "N sendto|connect   TCP Fast Open of both families with cookies, a third refused"},
    {"changed-meanwhile", 1, do_changed_meanwhile, "UID   one that is decided when its process has another parent and that user"},
    {"ia32-opens", 2, do_ia32_opens, "DIR N   in ten ways, six of which open, by 32-bit calls, each told"},
    {"ia32-waiting", 3, do_ia32_waiting, "PIPE PATH N   one file by a 32-bit call, while N others wait for a pipe"},
    {"ia32-failed-execs", 2, do_ia32_failed_execs, "PATH N   by 32-bit calls, each told"},
    {"ia32-unix", 2, do_ia32_unix, "PATH N   a socket by 32-bit calls, half of them to nobody"},
    {"ia32-no-route", 1, do_ia32_no_route, "N   32-bit calls without a route"},
    {"ia32-refused", 1, do_ia32_refused, "N   32-bit calls that are refused"},
    {"dropped", 1, do_dropped, "N   of each family and one more in a network that drops packets"},
    {"nobody-there", 1, do_nobody_there, "N   of each family and one more to an address that nobody has"},
    {"no-route", 1, do_no_route, "N   of each way to have none"},
    {"terminal", 3, do_terminal, "COLUMNS -- COMMAND..   in a terminal of its own, its pid told first"},
    {"open-cases", 1, do_open_cases, "DIR   without a name, through another's root, in a pid namespace"},
    {"pidns-connect", 0, do_pidns_connect, "one that is refused, in a pid namespace"},
    {"raced-opens", 2, do_raced_opens, "DIR N   of a name that a thread changes meanwhile"},
    {"open-failures", 1, do_open_failures, "DIR   each kind of failure, each told"},
    {"exec-failures", 1, do_exec_failures, "DIR   each kind of failure, each told"},
    {"exec-nowhere", 1, do_exec_nowhere, "PATH ARGS..   where nothing is"},
    {"exec32", 1, do_exec32, "PATH ARGS..   by a 32-bit call"},
    {"placeless", 1, do_placeless, "DIR   files to which no path leads"},
    {"racing-execs", 2, do_racing_execs, "N PATH   N processes whose threads all run PATH at once"},
    {"pending-exec", 1, do_pending_exec, "SCRIPT   with a request of io_uring under way"},
    {"taken-errors", 1, do_taken_errors, "N   refused connects, each ended by a second call; and one to AF_UNSPEC"},
    {"answered", 2, do_answered, "ERRNO PATH   an open, connects and an exec to which a seccomp filter gives that answer"},
    {"double-hook", 2, do_double_hook, "NAME MS   a further program of that name at that tracepoint, so long"},
    {"probe-bpf", 1, do_probe_bpf, "map|attach   whether this task may use BPF here"},
};

int main(int argc, char **argv)
{
    /* Run without arguments at all, it tells how many it got: 100, or 101 where the kernel adds an empty one. */
    if (argc == 0 || (argc == 1 && argv[0][0] == 0))
        return 100 + argc;
    alarm(LIFE_MAX_S);
    for (size_t i = 0; argc > 1 && i < sizeof subcommands / sizeof *subcommands; i++)
        if (strcmp(argv[1], subcommands[i].name) == 0 && argc - 2 >= subcommands[i].arguments)
            return subcommands[i].run(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof subcommands / sizeof *subcommands; i++)
        dprintf(2, "actor %s %s\n", subcommands[i].name, subcommands[i].usage);
    return ACTOR_USAGE;
}
