/* Lets the program that preloads this library believe that its processor ends at AVX2.

   arch_prctl(ARCH_SET_CPUID, 0) makes CPUID raise SIGSEGV in this process (Linux, processors with
   "cpuid_fault"). The handler runs the instruction itself and hides what came after AVX2. Nothing
   is emulated: the program chooses other kernels. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012, CPUID_BYTES = 0xA20F, CPUID_LENGTH = 2 };

/* Leaf 7, subleaf 0: bits of instructions newer than AVX2, by register. */
static const uint32_t LEAF_7_EBX = /* AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
    1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31;
static const uint32_t LEAF_7_ECX = /* VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNT */
    1u << 1 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14;
static const uint32_t LEAF_7_EDX = /* 4VNNIW, 4FMAPS, VP2INTERSECT, AMX BF16, FP16, AMX TILE, INT8 */
    1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25;

static struct sigaction others; /* the program's own handler of SIGSEGV */
static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);

static void ask(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) {
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
  __asm__ volatile("cpuid"
                   : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                   : "a"(leaf), "c"(subleaf));
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
  if (leaf == 7 && subleaf == 0) {
    out[1] &= ~LEAF_7_EBX;
    out[2] &= ~LEAF_7_ECX;
    out[3] &= ~LEAF_7_EDX;
  } else if (leaf == 7 || leaf == 0x1D || leaf == 0x1E || leaf == 0x24) {
    memset(out, 0, 4 * sizeof *out); /* AVX-VNNI and later; AMX tiles; AVX10 */
  }
}

static void on_fault(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  uint16_t instruction;
  memcpy(&instruction, (const void *)registers[REG_RIP], sizeof instruction);
  if (instruction == CPUID_BYTES) {
    uint32_t out[4];
    ask((uint32_t)registers[REG_RAX], (uint32_t)registers[REG_RCX], out);
    registers[REG_RAX] = out[0];
    registers[REG_RBX] = out[1];
    registers[REG_RCX] = out[2];
    registers[REG_RDX] = out[3];
    registers[REG_RIP] += CPUID_LENGTH;
  } else if (others.sa_flags & SA_SIGINFO && others.sa_sigaction != NULL) {
    others.sa_sigaction(number, info, context);
  } else {
    signal(SIGSEGV, SIG_DFL); /* the instruction faults again, and ends the program */
  }
}

/* Keeps the handler where the program sets one of its own. */
int sigaction(int number, const struct sigaction *wanted, struct sigaction *old) {
  if (real_sigaction == NULL)
    real_sigaction = dlsym(RTLD_NEXT, "sigaction");
  if (number != SIGSEGV)
    return real_sigaction(number, wanted, old);
  if (old != NULL)
    *old = others;
  if (wanted != NULL)
    others = *wanted;
  return 0;
}

__attribute__((constructor)) static void hide(void) {
  struct sigaction own = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
  real_sigaction = dlsym(RTLD_NEXT, "sigaction");
  if (real_sigaction(SIGSEGV, &own, NULL) != 0 ||
      syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
    perror("as_avx2: this processor cannot hide its instructions (no cpuid_fault)");
    _exit(1);
  }
}
