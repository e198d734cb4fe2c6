/* Calls that a seccomp filter answers in the kernel's place, which does nothing of what they ask. */
#include "actor.h"
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void answer(long call, unsigned error)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = 4, .filter = steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        refused("seccomp");
}

static void tell_answered(const char *call, long result, int error)
{
    int given = result < 0 ? errno : 0;
    if (given != error)
        broken(call);
    dprintf(1, "{\"act\":\"answered\",\"pid\":%d,\"call\":\"%s\"}\n", own_pid(), call);
}

int do_answered(int argc, char **argv)
{
    (void)argc;
    int error = (int)number(argv[1], 4095);
    /* On the stack, which is there: see `failed-execs`. */
    char path[108], zero[] = "zero", *args[] = {zero, NULL}, *env[] = {NULL};
    snprintf(path, sizeof path, "%s", argv[2]);
    int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    union address inet, name = {.un = {.sun_family = AF_UNIX}};
    net_loopback(AF_INET, 0, &inet);
    inet.in.sin_port = htons(9);
    memcpy(name.un.sun_path, path, sizeof path);
    const long calls[] = {SYS_openat, SYS_connect, SYS_execve};
    for (int i = 0; i < 3; i++)
        answer(calls[i], (unsigned)error);
    tell_answered("open", syscall(SYS_openat, AT_FDCWD, path, O_RDONLY), error);
    tell_answered("udp", connect(udp, &inet.any, sizeof inet.in), error);
    tell_answered("tcp", connect(tcp, &inet.any, sizeof inet.in), error);
    tell_answered("unix", connect(local, &name.any, sizeof name.un), error);
    tell_answered("exec", syscall(SYS_execve, path, args, env), error);
    return 0;
}
