/* Further ways to connect on the loopback: without a bind before, by other families, through options of TCP. */
#include "actor.h"
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* The address that the kernel chose. After a refusal the socket keeps its port alone. */
static void chosen(int fd, int family, union address *local)
{
    union address own;
    socklen_t len = sizeof own;
    if (getsockname(fd, &own.any, &len) < 0)
        broken("getsockname");
    net_loopback(family, 0, local);
    local->in.sin_port = own.in.sin_port;
    if (own.in.sin_port == 0)
        broken("a port that nobody knows any more");
}

/* A client that binds nothing: whom the listener accepts is the oracle, or the socket itself. */
static void unbound(int family, int protocol, int nonblocking, int listener, const union address *to)
{
    union address local;
    int fd = socket(family, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, protocol);
    if (fd < 0)
        refused("socket");
    int error = connect(fd, &to->any, net_size(to)) < 0 ? errno : 0;
    chosen(fd, family, &local);
    const char *later = error == EINPROGRESS ? net_decided(fd, to) : "";
    if (error == 0 || strcmp(later, "ok") == 0)
        net_accepted(listener, &local);
    net_tell("tcp", &local, to, error, later);
    close(fd);
}

int do_unbound(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    for (int v6 = 0; v6 < 2; v6++) {
        union address open, closed;
        int family = v6 ? AF_INET6 : AF_INET;
        int listener = net_listening(family, 0, &open), silent = net_bound(family, SOCK_STREAM, 0, &closed);
        for (long i = 0; i < times; i++)
            unbound(family, 0, i % 2, listener, i % 4 < 2 ? &open : &closed);
        close(listener);
        close(silent);
    }
    return 0;
}

int do_mptcp(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    union address at;
    int listener = net_listening(AF_INET, 0, &at);
    for (long i = 0; i < times; i++)
        unbound(AF_INET, IPPROTO_MPTCP, 0, listener, &at);
    return 0;
}

/* Sockets of unix, to a name that is there and one that is not. */
static void unix_pair(int type, const char *kind, const char *name, int listens)
{
    union address at = {.un = {.sun_family = AF_UNIX}};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    int other = -1, fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    memcpy(at.un.sun_path, name, strlen(name));
    if (listens) {
        other = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        if (bind(other, &at.any, len) < 0 || (type == SOCK_SEQPACKET && listen(other, 1) < 0))
            broken("a unix socket");
    }
    int error = connect(fd, &at.any, len) < 0 ? errno : 0;
    net_told("unix", kind, "", name, error, "");
    close(fd);
    if (listens) {
        close(other);
        unlink(name);
    }
}

int do_unix_types(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    for (long i = 0; i < times; i++) {
        unix_pair(SOCK_DGRAM, "dgram", "unix-dgram", i % 2 == 0);
        unix_pair(SOCK_SEQPACKET, "seqpacket", "unix-seqpacket", i % 2 == 0);
    }
    return 0;
}

/* Names of any bytes, where nobody is: as a path and as an abstract one. They are told by their number. */
int do_unix_names(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        for (int abstract = 0; abstract < 2; abstract++) {
            union address at = {.un = {.sun_family = AF_UNIX}};
            size_t len = strlen(argv[i]);
            if (len > sizeof at.un.sun_path - 1)
                broken("a name too long for a socket");
            memcpy(at.un.sun_path + abstract, argv[i], len);
            int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (connect(fd, &at.any, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + len)) == 0)
                broken("somebody is there");
            dprintf(1, "{\"act\":\"unix-name\",\"pid\":%d,\"number\":%d,\"abstract\":%s,\"errno\":%d}\n", getpid(),
                    i - 1, abstract ? "true" : "false", errno);
            close(fd);
        }
    return 0;
}

int do_families(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int error = connect(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0 ? errno : 0;
    dprintf(1, "{\"act\":\"family\",\"pid\":%d,\"family\":\"netlink\",\"errno\":%d}\n", getpid(), error);
    close(fd);
    struct sockaddr_vm machine = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = 4711};
    fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    error = connect(fd, (struct sockaddr *)&machine, sizeof machine) < 0 ? errno : 0;
    dprintf(1, "{\"act\":\"family\",\"pid\":%d,\"family\":\"vsock\",\"errno\":%d}\n", getpid(), error);
    close(fd);
    return 0;
}

int do_uring_polled(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    union address open, closed, local;
    struct ring ring = ring_make(1, IORING_SETUP_SQPOLL);
    int listener = net_listening(AF_INET, 0, &open);
    net_bound(AF_INET, SOCK_STREAM, 0, &closed);
    for (long i = 0; i < times; i++) {
        union address *to = i % 2 ? &closed : &open;
        int fd = net_bound(AF_INET, SOCK_STREAM, 0, &local);
        int error = connect_by(&ring, 0, fd, to);
        if ((errno = error) == EBADF)
            refused("a file that is not registered, with IORING_SETUP_SQPOLL");
        if (error == 0)
            net_accepted(listener, &local);
        net_tell("tcp", &local, to, error, "");
        close(fd);
    }
    return 0;
}

/* TCP Fast Open in a network of its own, where the listener gives cookies: the first attempt asks for one, the others
 * send their data with the SYN. By sendto, or by a connect that sends nothing yet. */
static void fast(int family, int by_connect, int listener, const union address *to)
{
    union address local;
    int one = 1, error = 0, fd = net_bound(family, SOCK_STREAM, 0, &local);
    if (by_connect) {
        if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one) < 0)
            refused("TCP_FASTOPEN_CONNECT");
        error = connect(fd, &to->any, net_size(to)) < 0 ? errno : 0;
        if (error == 0 && send(fd, "x", 1, MSG_NOSIGNAL) < 0)
            error = errno;
    } else if (sendto(fd, "x", 1, MSG_FASTOPEN, &to->any, net_size(to)) < 0) {
        error = errno;
    }
    if (error == EOPNOTSUPP)
        refused("MSG_FASTOPEN");
    if (error == 0)
        net_accepted(listener, &local);
    net_tell("tcp", &local, to, error, "");
    close(fd);
}

int do_fastopen_ways(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    int by_connect = strcmp(argv[2], "connect") == 0, queue = 16;
    net_own();
    int fd = open("/proc/sys/net/ipv4/tcp_fastopen", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "3", 1) != 1)
        refused("tcp_fastopen");
    close(fd);
    for (int v6 = 0; v6 < 2; v6++) {
        union address open, closed;
        int family = v6 ? AF_INET6 : AF_INET;
        int listener = net_listening(family, 0, &open), silent = net_bound(family, SOCK_STREAM, 0, &closed);
        if (setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue) < 0)
            refused("TCP_FASTOPEN");
        for (long i = 0; i < times; i++)
            fast(family, by_connect, listener, i % 3 == 2 ? &closed : &open);
        close(listener);
        close(silent);
    }
    return 0;
}

int do_ia32_refused(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    union address at, local;
    struct low *low = low_memory();
    if (!low)
        refused("int 0x80");
    net_bound(AF_INET, SOCK_STREAM, 0, &at);
    for (long i = 0; i < times; i++) {
        int fd = net_bound(AF_INET, SOCK_STREAM, 0, &local);
        int error = connect32(low, i, fd, &at);
        if (error != ECONNREFUSED)
            broken("a 32-bit connect that should be refused");
        net_tell("tcp", &local, &at, error, "");
        close(fd);
    }
    return 0;
}

/* The second of two connections to a listener with room for one: decided a second later, when the first is accepted. By
 * then it has another parent and is another user.
 */
static void ask_then_change(uid_t uid, int asked, int orphaned)
{
    union address at, first, second;
    char byte = 0;
    int listener = net_bound(AF_INET, SOCK_STREAM, 0, &at);
    int fills = net_bound(AF_INET, SOCK_STREAM, 0, &first), fd = net_bound(AF_INET, SOCK_STREAM, 0, &second);
    if (listen(listener, 0) < 0 || connect(fills, &at.any, net_size(&at)) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        broken("a listener with room for one");
    if (connect(fd, &at.any, net_size(&at)) == 0 || errno != EINPROGRESS)
        broken("a second connection is decided at once");
    dprintf(1, "{\"act\":\"asked\",\"pid\":%d,\"ppid\":%d}\n", getpid(), getppid());
    if (write(asked, &byte, 1) != 1 || read(orphaned, &byte, 1) != 0)
        broken("a pipe");
    if (setresuid(uid, uid, uid) < 0)
        refused("setresuid");
    net_accepted(listener, &first);
    if (strcmp(net_decided(fd, &at), "ok") != 0)
        broken("the second connection is not accepted");
}

int do_changed_meanwhile(int argc, char **argv)
{
    (void)argc;
    uid_t uid = (uid_t)number(argv[1], 65534);
    int asked[2], orphaned[2], status;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        refused("PR_SET_CHILD_SUBREAPER");
    if (pipe(asked) < 0 || pipe(orphaned) < 0)
        broken("pipe");
    pid_t parent = fork();
    if (parent == 0) {
        char byte;
        prctl(PR_SET_NAME, "first-parent");
        pid_t child = fork();
        if (child == 0) {
            close(orphaned[1]);
            ask_then_change(uid, asked[1], orphaned[0]);
            _exit(0);
        }
        _exit(child > 0 && read(asked[0], &byte, 1) == 1 ? 0 : ACTOR_BROKEN);
    }
    if (parent < 0 || waitpid(parent, &status, 0) != parent || status != 0)
        broken("the first parent");
    close(orphaned[1]);
    if (wait(&status) < 0 || status != 0)
        broken("the one that asked");
    return 0;
}
