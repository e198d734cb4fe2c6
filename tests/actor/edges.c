/* Where what is seen is easily taken for something else: files to which no path leads, calls that never return or complete
 * another, a script that is closed before its interpreter runs. */
#include "actor.h"
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RACERS = 6 };

static void folder(const char *path)
{
    if (mkdir(path, 0755) < 0)
        broken(path);
}

/* Namespaces have no name; of a folder that was moved out of what a bind mount shows, that mount knows none. */
int do_placeless(int argc, char **argv)
{
    (void)argc;
    if (chdir(argv[1]) < 0)
        broken(argv[1]);
    tell_open("net", "", "/proc/self/ns/net", syscall(SYS_openat, AT_FDCWD, "/proc/self/ns/net", O_RDONLY), 0);
    tell_open("pid", "", "/proc/self/ns/pid", syscall(SYS_openat, AT_FDCWD, "/proc/self/ns/pid", O_RDONLY), 0);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        refused("unshare");
    folder("shown");
    folder("shown/in");
    folder("other");
    folder("bound");
    if (mknod("shown/in/f", S_IFREG | 0644, 0) < 0 || mount("shown", "bound", NULL, MS_BIND, NULL) < 0)
        refused("a bind mount");
    int in = (int)syscall(SYS_openat, AT_FDCWD, "bound/in", O_PATH | O_DIRECTORY);
    if (in < 0 || rename("shown/in", "other/in") < 0)
        broken("rename");
    tell_open("moved", "", "f", syscall(SYS_openat, in, "f", O_RDONLY), 0);
    return 0;
}

static pthread_barrier_t barrier;
static char *racers_path;

static void *racer(void *unused)
{
    (void)unused;
    char *argv[] = {racers_path, "exit", "0", NULL};
    pthread_barrier_wait(&barrier);
    execv(racers_path, argv);
    return NULL;
}

/* N processes whose threads all execute a program at once: one does, and the others never come back from the call. */
int do_racing_execs(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], COUNT_MAX);
    racers_path = argv[2];
    for (long i = 0; i < times; i++) {
        uint64_t forked_ns = now_ns();
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t thread;
            pthread_barrier_init(&barrier, NULL, RACERS);
            for (int n = 1; n < RACERS; n++)
                if (pthread_create(&thread, NULL, racer, NULL) != 0)
                    _exit(ACTOR_BROKEN);
            racer(NULL);
            _exit(ACTOR_EXEC_FAILED);
        }
        struct child child = reap(pid, forked_ns);
        tell_child(&child, "");
    }
    return 0;
}

/* A process that has executed a program before, and executes a script while a request of io_uring is under way. The kernel
 * waits for its end in the middle of the exec, and closes files meanwhile. */
int do_pending_exec(int argc, char **argv)
{
    if (strcmp(argv[1], "now") == 0) {
        static char byte;
        int ends[2];
        struct ring ring = ring_make(4, 0);
        if (pipe(ends) < 0)
            broken("pipe");
        struct io_uring_sqe *sqe = ring_next(&ring);
        sqe->opcode = IORING_OP_READ;
        sqe->fd = ends[0];
        sqe->addr = (uint64_t)(uintptr_t)&byte;
        sqe->len = 1;
        __atomic_store_n(ring.sq_tail, *ring.sq_tail + 1, __ATOMIC_RELEASE);
        if (syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0) != 1)
            broken("io_uring_enter");
        execv(argv[2], argv + 2);
        _exit(ACTOR_EXEC_FAILED);
    }
    (void)argc;
    uint64_t forked_ns = now_ns();
    pid_t pid = fork();
    if (pid == 0) {
        char *again[] = {"actor", "pending-exec", "now", argv[1], NULL};
        execv("/proc/self/exe", again);
        _exit(ACTOR_EXEC_FAILED);
    }
    struct child child = reap(pid, forked_ns);
    tell_child(&child, "");
    return WIFEXITED(child.status) && WEXITSTATUS(child.status) == ACTOR_REFUSED ? ACTOR_REFUSED : 0;
}

/* Attempts whose errno is taken with SO_ERROR, and after each the call that ends it, which is none. */
int do_taken_errors(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    union address closed;
    int silent = net_bound(AF_INET, SOCK_STREAM, 0, &closed);
    for (long i = 0; i < times; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
        socklen_t len = sizeof error, local_len = sizeof(union address);
        union address local;
        if (net_loopback(AF_INET, 0, &local) == 0 || bind(fd, &local.any, net_size(&local)) < 0 ||
            getsockname(fd, &local.any, &local_len) < 0)
            broken("bind");
        if (connect(fd, &closed.any, net_size(&closed)) == 0 || errno != EINPROGRESS)
            broken("a connect that does not wait");
        struct pollfd decided = {.fd = fd, .events = POLLOUT};
        if (poll(&decided, 1, -1) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
            error != ECONNREFUSED)
            broken("SO_ERROR");
        net_tell("tcp", &local, &closed, EINPROGRESS, "refused");
        if (connect(fd, &closed.any, net_size(&closed)) == 0 || errno != ECONNABORTED)
            broken("the call that ends it");
        close(fd);
    }
    /* One that was begun by Fast Open is ended by a connect as well, wherever that is to go. */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    union address local, other = closed;
    socklen_t len = sizeof local;
    if (net_loopback(AF_INET, 0, &local) == 0 || bind(fd, &local.any, net_size(&local)) < 0 ||
        getsockname(fd, &local.any, &len) < 0)
        broken("bind");
    if (sendto(fd, "x", 1, MSG_FASTOPEN, &closed.any, net_size(&closed)) >= 0 || errno != EINPROGRESS)
        refused("MSG_FASTOPEN");
    struct pollfd decided = {.fd = fd, .events = POLLOUT};
    if (poll(&decided, 1, -1) != 1)
        broken("poll");
    net_tell("tcp", &local, &closed, ECONNREFUSED, "");
    other.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    if (connect(fd, &other.any, net_size(&other)) == 0 || errno != ECONNREFUSED)
        broken("the call that ends it");
    close(fd);
    close(silent);
    /* It takes a connection away. */
    union address nobody = {.any = {.sa_family = AF_UNSPEC}};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0 || connect(pair[0], &nobody.any, sizeof nobody.any) < 0)
        broken("AF_UNSPEC");
    return 0;
}
