/* Start of a Cortex-M4 without an operating system; files and printing go through semihosting. */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t bss_start, bss_end, stack_top;
extern void initialise_monitor_handles(void);
extern int main(void);
void reset(void);
void _init(void);
void _fini(void);

/* newlib calls these around main; there is nothing to do. */
void _init(void) {}
void _fini(void) {}

void reset(void) {
  for (uint32_t *word = &bss_start; word < &bss_end; ++word) {
    *word = 0;
  }
  initialise_monitor_handles();
  exit(main());
}

static void halt(void) {
  for (;;) {
  }
}

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
  uint32_t *stack;
  handler reset, faults[14];
} vectors = {&stack_top, reset,
             {halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt}};
