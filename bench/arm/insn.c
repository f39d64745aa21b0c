/* A plugin for qemu's user mode that counts executed instructions, and where: one line per translated block at exit.
   Build: gcc -O2 -shared -fPIC -o libinsn.so insn.c      Use: qemu-aarch64 -plugin libinsn.so,out=FILE ...
   The file: "insns TOTAL", then "ADDRESS INSTRUCTIONS EXECUTIONS" in the guest's addresses. Counts are exact for
   one thread. The declarations are those of qemu-plugin.h, version 1, so that no header of qemu is needed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_name;
    struct { int min, cur; } version;
    int system_emulation;
    union { struct { int smp_vcpus, max_vcpus; } system; };
} qemu_info_t;
struct qemu_plugin_tb;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

#define VISIBLE __attribute__((visibility("default")))
VISIBLE int qemu_plugin_version = 1;

struct block {
    struct block *next;
    uint64_t address, instructions, executions;
};
static struct block *blocks;
static const char *path;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    b->address = qemu_plugin_tb_vaddr(tb);
    b->instructions = qemu_plugin_tb_n_insns(tb);
    do
        b->next = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE);
    while (!__sync_bool_compare_and_swap(&blocks, b->next, b));
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &b->executions, 1);
}

static void finished(qemu_plugin_id_t id, void *data)
{
    FILE *file = path ? fopen(path, "w") : stderr;
    uint64_t total = 0;
    if (file == NULL)
        abort();
    for (struct block *b = blocks; b; b = b->next)
        total += b->instructions * b->executions;
    fprintf(file, "insns %" PRIu64 "\n", total);
    for (struct block *b = blocks; path && b; b = b->next)
        if (b->executions)
            fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", b->address, b->instructions, b->executions);
    if (path)
        fclose(file);
}

VISIBLE int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "out=", 4) == 0)
            path = strdup(argv[i] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
