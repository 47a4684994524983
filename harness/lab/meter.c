/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lab's instruction meter: a TCG plugin that counts what each vCPU of the guest executes, in user and in
 * kernel space, between two marker instructions that the guest itself executes.
 *
 *   qemu-system-x86_64 ... -plugin libdmatoll_meter.so,out=FILE[,profile=FILE]
 *
 * Each window that is closed adds one line to FILE:
 *   {"window":0,"vcpus":[{"user":n,"kernel":n},{"user":n,"kernel":n}]}
 * and, if it is wanted, one to the profile: how often vCPU 0 executed which instruction, by its address, which may
 * be there more than once:
 *   {"window":0,"instructions":[["ffffffff81000000",n],...]}
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

/*
 * A block of instructions, by where it begins and how long its instructions are: retranslations of it share one, be
 * they longer or shorter; another process's at that address is another. Of a block always an unbroken row of
 * instructions is executed, which may end before it does. So `balance` holds, for each instruction, how many rows of
 * vCPU 0's begin there less how many end before it: what was executed is the sum up to there.
 */
struct block {
    uint64_t address;
    size_t length;
    uint8_t *sizes;   /* of the instructions, in bytes */
    int64_t *balance; /* one more than `length` */
    struct block *next;
};

enum { block_buckets = 1 << 16 };
static FILE *profile;
static struct block *blocks[block_buckets];
/* vCPU 0 is in it, what was counted before it was entered, and the instruction where its row begins. */
static struct block *current_block;
static uint64_t at_block_entry;
static size_t row_begin;

static const uint8_t open_marker[] = {0x0f, 0x1f, 0x84, 0x00, 0x01, 0x41, 0x4d, 0x44};
static const uint8_t close_marker[] = {0x0f, 0x1f, 0x84, 0x00, 0x02, 0x41, 0x4d, 0x44};

static void credit_running_vcpu(void)
{
    for (int space = 0; space < spaces; space++) {
        vcpus[running].executed[space] += total.executed[space] - credited.executed[space];
        credited.executed[space] = total.executed[space];
    }
}

/* Whether as many instructions as both have are of the same sizes. */
static bool agree(const struct block *block, const uint8_t *sizes, size_t length)
{
    return memcmp(block->sizes, sizes, length < block->length ? length : block->length) == 0;
}

/* False: there is no memory, and the block is as it was. */
static bool lengthen(struct block *block, const uint8_t *sizes, size_t length)
{
    uint8_t *const longer = realloc(block->sizes, length);

    if (longer == NULL)
        return false;
    block->sizes = longer;
    int64_t *const balance = realloc(block->balance, (length + 1) * sizeof(*balance));
    if (balance == NULL)
        return false;
    block->balance = balance;
    memcpy(longer + block->length, sizes + block->length, length - block->length);
    const size_t known = block->length == 0 ? 0 : block->length + 1;
    memset(balance + known, 0, (length + 1 - known) * sizeof(*balance));
    block->length = length;
    return true;
}

/* Null without a profile, or without memory: then the block's instructions are missing, and the sum tells. */
static struct block *block_of(const struct qemu_plugin_tb *translated)
{
    const uint64_t address = qemu_plugin_tb_vaddr(translated);
    const size_t length = qemu_plugin_tb_n_insns(translated);
    struct block **bucket = &blocks[(address ^ address >> 16) % block_buckets];
    struct block *found = *bucket;
    uint8_t sizes[1024];

    if (profile == NULL || length == 0 || length > sizeof(sizes))
        return NULL;
    for (size_t index = 0; index < length; index++)
        sizes[index] = (uint8_t)qemu_plugin_insn_size(qemu_plugin_tb_get_insn(translated, index));
    while (found != NULL && !(found->address == address && agree(found, sizes, length)))
        found = found->next;
    if (found == NULL && (found = calloc(1, sizeof(*found))) != NULL) {
        found->address = address;
        found->next = *bucket;
        *bucket = found;
    }
    if (found != NULL && length > found->length && !lengthen(found, sizes, length))
        return NULL;
    return found;
}

/* What vCPU 0 executed since it entered its block is the block's. `next`: where it goes on; NULL: it is not its turn. */
static void enter_block(struct block *next)
{
    const uint64_t now = total.executed[user] + total.executed[kernel];

    if (current_block != NULL) {
        const uint64_t row_end = now - at_block_entry;

        /* More than the block has cannot be: it would be missing, and the sum tell. */
        if (row_end <= current_block->length) {
            current_block->balance[row_begin]++;
            current_block->balance[row_end]--;
        }
    }
    current_block = next;
    at_block_entry = now;
    row_begin = 0;
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
    if (__builtin_expect(vcpu != running, 0))
        change_turn(vcpu);
    if (__builtin_expect(profile != NULL, 0))
        enter_block(vcpu == 0 ? data : NULL);
}

/* A block that vCPU 0 is in goes on from where it is. */
static void clear_profile(void)
{
    const uint64_t now = total.executed[user] + total.executed[kernel];

    if (current_block != NULL && now - at_block_entry <= current_block->length)
        row_begin = now - at_block_entry;
    for (size_t bucket = 0; bucket < block_buckets; bucket++)
        for (struct block *block = blocks[bucket]; block != NULL; block = block->next)
            memset(block->balance, 0, (block->length + 1) * sizeof(*block->balance));
}

static void write_profile(void)
{
    const char *separator = "";

    enter_block(NULL);
    fprintf(profile, "{\"window\":%" PRIu64 ",\"instructions\":[", windows);
    for (size_t bucket = 0; bucket < block_buckets; bucket++) {
        for (const struct block *block = blocks[bucket]; block != NULL; block = block->next) {
            uint64_t address = block->address;
            int64_t executed = 0;

            for (size_t index = 0; index < block->length; address += block->sizes[index++]) {
                executed += block->balance[index];
                if (executed == 0)
                    continue;
                fprintf(profile, "%s[\"%" PRIx64 "\",%" PRId64 "]", separator, address, executed);
                separator = ",";
            }
        }
    }
    fputs("]}\n", profile);
    if (fflush(profile) != 0)
        perror("dmatoll meter: cannot write a profile");
}

static void on_open(unsigned vcpu, void *data)
{
    (void)data;
    change_turn(vcpu);
    memcpy(at_opening, vcpus, sizeof(vcpus));
    if (profile != NULL)
        clear_profile();
    window_is_open = true;
}

static void on_close(unsigned vcpu, void *data)
{
    (void)data;
    if (!window_is_open)
        return;
    change_turn(vcpu);
    window_is_open = false;
    if (profile != NULL)
        write_profile();

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

    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, QEMU_PLUGIN_CB_NO_REGS, block_of(block));
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

/* Opens the file of an argument NAME=FILE for appending. False if it is not that argument, or cannot be opened. */
static bool open_file(const char *argument, const char *name, FILE **file)
{
    const size_t length = strlen(name);

    if (strncmp(argument, name, length) != 0 || *file != NULL)
        return false;
    *file = fopen(argument + length, "a");
    if (*file != NULL)
        return true;
    fprintf(stderr, "dmatoll meter: cannot open %s: ", argument + length);
    perror(NULL);
    return false;
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const qemu_info_t *info, int argc,
                                                               char **argv)
{
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
    bool understood = true;
    for (int index = 0; index < argc; index++)
        understood &= open_file(argv[index], "out=", &output) || open_file(argv[index], "profile=", &profile);
    if (!understood || output == NULL) {
        fprintf(stderr, "dmatoll meter: expected -plugin libdmatoll_meter.so,out=FILE[,profile=FILE]\n");
        return -1;
    }
    vcpu_count = (unsigned)info->system.smp_vcpus;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
