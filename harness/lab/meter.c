/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lab's instruction meter: a TCG plugin that counts what each vCPU of the guest executes, in user and in
 * kernel space, between two marker instructions that the guest itself executes.
 *
 *   qemu-system-x86_64 ... -plugin libdmatoll_meter.so,out=FILE
 *
 * Each window that is closed adds one line to FILE:
 *   {"window":0,"vcpus":[{"user":n,"kernel":n},{"user":n,"kernel":n}]}
 *
 * An instruction is counted when it begins, so a block of instructions that an interrupt, a fault or a device
 * access cuts short is counted as far as it went. An instruction that faults and is begun again counts again.
 * The counters are not per vCPU: the emulator runs the vCPUs in turns on one thread, and each block of
 * instructions first notices whose turn it is. With a thread for each vCPU that would be wrong; then the
 * windows say "unavailable".
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

/* A user-space address has bit 63 clear on x86-64. */
enum space { user, kernel, spaces };
enum { most_vcpus = 64 };

struct counts {
    uint64_t executed[spaces];
};

__attribute__((visibility("default"))) int qemu_plugin_version = qemu_plugin_interface;

static unsigned vcpu_count;
static FILE *output;

/* Grows while the vCPU `running` executes; what was counted before its turn is in `credited`. */
static struct counts total;
static struct counts credited;
static struct counts vcpus[most_vcpus];
static unsigned running;

static pthread_t thread;
static bool thread_known;
static bool several_threads;

static struct counts at_opening[most_vcpus];
static bool window_is_open;
static uint64_t windows;

static const uint8_t open_marker[] = {0x0f, 0x1f, 0x84, 0x00, 0x01, 0x41, 0x4d, 0x44};
static const uint8_t close_marker[] = {0x0f, 0x1f, 0x84, 0x00, 0x02, 0x41, 0x4d, 0x44};

static void credit_running_vcpu(void)
{
    for (int space = 0; space < spaces; space++) {
        vcpus[running].executed[space] += total.executed[space] - credited.executed[space];
        credited.executed[space] = total.executed[space];
    }
}

static void change_turn(unsigned vcpu)
{
    if (!thread_known) {
        thread = pthread_self();
        thread_known = true;
    } else if (!pthread_equal(thread, pthread_self())) {
        several_threads = true;
    }
    credit_running_vcpu();
    running = vcpu < most_vcpus ? vcpu : most_vcpus - 1;
}

static void on_block(unsigned vcpu, void *data)
{
    (void)data;
    if (__builtin_expect(vcpu != running, 0))
        change_turn(vcpu);
}

static void on_open(unsigned vcpu, void *data)
{
    (void)data;
    change_turn(vcpu);
    memcpy(at_opening, vcpus, sizeof(vcpus));
    window_is_open = true;
}

static void on_close(unsigned vcpu, void *data)
{
    (void)data;
    if (!window_is_open)
        return;
    change_turn(vcpu);
    window_is_open = false;

    fprintf(output, "{\"window\":%" PRIu64, windows++);
    if (several_threads) {
        fputs(",\"unavailable\":\"the vCPUs run on several threads\"}\n", output);
    } else {
        fputs(",\"vcpus\":[", output);
        for (unsigned index = 0; index < vcpu_count; index++) {
            fprintf(output, "%s{\"user\":%" PRIu64 ",\"kernel\":%" PRIu64 "}", index ? "," : "",
                    vcpus[index].executed[user] - at_opening[index].executed[user],
                    vcpus[index].executed[kernel] - at_opening[index].executed[kernel]);
        }
        fputs("]}\n", output);
    }
    if (fflush(output) != 0)
        perror("dmatoll meter: cannot write a window");
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    const enum space space = qemu_plugin_tb_vaddr(block) >> 63 ? kernel : user;
    const size_t length = qemu_plugin_tb_n_insns(block);

    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, QEMU_PLUGIN_CB_NO_REGS, NULL);
    for (size_t index = 0; index < length; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, index);

        qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64,
                                                   &total.executed[space], 1);
        if (qemu_plugin_insn_size(instruction) != sizeof(open_marker))
            continue;
        if (memcmp(qemu_plugin_insn_data(instruction), open_marker, sizeof(open_marker)) == 0)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_open, QEMU_PLUGIN_CB_NO_REGS, NULL);
        else if (memcmp(qemu_plugin_insn_data(instruction), close_marker, sizeof(close_marker)) == 0)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_close, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const qemu_info_t *info, int argc,
                                                               char **argv)
{
    static const char option[] = "out=";

    if (!info->system_emulation || strcmp(info->target_name, "x86_64") != 0) {
        fprintf(stderr, "dmatoll meter: works with qemu-system-x86_64 only, not with %s\n",
                info->target_name);
        return -1;
    }
    if (info->system.max_vcpus > most_vcpus) {
        fprintf(stderr, "dmatoll meter: at most %d vCPUs, this guest may have %d\n", most_vcpus,
                info->system.max_vcpus);
        return -1;
    }
    if (argc != 1 || strncmp(argv[0], option, strlen(option)) != 0) {
        fprintf(stderr, "dmatoll meter: expected -plugin libdmatoll_meter.so,out=FILE\n");
        return -1;
    }
    output = fopen(argv[0] + strlen(option), "a");
    if (output == NULL) {
        fprintf(stderr, "dmatoll meter: cannot open %s for the windows: ", argv[0] + strlen(option));
        perror(NULL);
        return -1;
    }
    vcpu_count = (unsigned)info->system.smp_vcpus;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
