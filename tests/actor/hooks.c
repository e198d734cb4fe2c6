/* What another tool could do to a collector's hooks. */
#include "actor.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

/* Gives a perf event a loaded program of this name, of which the kernel keeps 15 bytes: one that the event's tracepoint
 * does not run already, which the kernel refuses. */
static void set_program(int event, const char *name)
{
    union bpf_attr attr = {0};
    while (bpf(BPF_PROG_GET_NEXT_ID, &attr) == 0) {
        uint32_t id = attr.next_id;
        union bpf_attr by_id = {.prog_id = id};
        int fd = bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
        struct bpf_prog_info info = {0};
        union bpf_attr about = {.info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof info, .info = (uintptr_t)&info}};
        if (fd >= 0 && bpf(BPF_OBJ_GET_INFO_BY_FD, &about) == 0 && strcmp(info.name, name) == 0 &&
            ioctl(event, PERF_EVENT_IOC_SET_BPF, fd) == 0)
            return;
        if (fd >= 0)
            close(fd);
        memset(&attr, 0, sizeof attr);
        attr.start_id = id;
    }
    refused("PERF_EVENT_IOC_SET_BPF");
}

/* Attaches a loaded program to a tracepoint of system calls, beside what is there, for a while. */
int do_double_hook(int argc, char **argv)
{
    (void)argc;
    char path[256], text[32] = "";
    int found = -1;
    const char *roots[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};
    for (int i = 0; i < 2 && found < 0; i++) {
        snprintf(path, sizeof path, "%s/events/syscalls/%s/id", roots[i], argv[1]);
        found = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (found < 0 || read(found, text, sizeof text - 1) <= 0)
        refused("tracefs");
    char *end = strchr(text, '\n');
    if (end)
        *end = 0;
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof attr,
        .config = (uint64_t)number(text, 1 << 20),
        .sample_period = 1,
    };
    int event = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
    if (event < 0)
        refused("perf_event_open");
    set_program(event, argv[1]);
    if (ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0)
        refused("PERF_EVENT_IOC_ENABLE");
    dprintf(1, "{\"act\":\"doubled\",\"hook\":\"%s\"}\n", argv[1]);
    usleep((useconds_t)number(argv[2], 10000) * 1000);
    return 0;
}
