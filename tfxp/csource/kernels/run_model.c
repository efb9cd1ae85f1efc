/* Runs the network on samples from standard input until it ends: the codes of all inputs, one
 * after the other, are read, and those of all outputs written to standard output. */
#include <stdio.h>

#include "model.h"
#include "model_ports.h"

int main(void) {
  for (;;) {
    for (int32_t i = 0; i < MODEL_INPUTS; ++i) {
      const size_t got = fread(inputs[i], 1, input_bytes[i], stdin);
      if (got == 0 && i == 0) {
        return fflush(stdout) != 0;
      }
      if (got != input_bytes[i]) {
        fputs("standard input: ends within a sample\n", stderr);
        return 2;
      }
    }
    MODEL_CALL();
    for (int32_t i = 0; i < MODEL_OUTPUTS; ++i) {
      if (fwrite(outputs[i], 1, output_bytes[i], stdout) != output_bytes[i]) {
        return 2;
      }
    }
  }
}
