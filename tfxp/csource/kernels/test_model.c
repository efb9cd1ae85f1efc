/* Runs the network on vectors.bin and counts outputs that differ; also prints the time of a run.
 *
 * vectors.bin: the number of samples (int32, little endian), then for each sample the codes of all
 * inputs and all expected outputs.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "model.h"
#include "model_ports.h"

static int8_t expected[MODEL_LARGEST_OUTPUT];

static long differing(FILE *file) {
  long count = 0;
  for (int32_t i = 0; i < MODEL_OUTPUTS; ++i) {
    const int8_t *codes = outputs[i];
    if (fread(expected, 1, output_bytes[i], file) != output_bytes[i]) {
      return -1;
    }
    for (uint32_t k = 0; k < output_bytes[i]; ++k) {
      count += codes[k] != expected[k];
    }
  }
  return count;
}

int main(void) {
  FILE *file = fopen("vectors.bin", "rb");
  uint8_t head[4];
  if (file == NULL || fread(head, 1, 4, file) != 4) {
    puts("vectors.bin: cannot be read");
    return 2;
  }
  const long samples = (long)head[0] | (long)head[1] << 8 | (long)head[2] << 16;
  long wrong = 0, all = 0;
  clock_t spent = 0;
  for (long n = 0; n < samples; ++n) {
    for (int32_t i = 0; i < MODEL_INPUTS; ++i) {
      if (fread(inputs[i], 1, input_bytes[i], file) != input_bytes[i]) {
        puts("vectors.bin: ends early");
        return 2;
      }
    }
    const clock_t start = clock();
    MODEL_CALL();
    spent += clock() - start;
    const long found = differing(file);
    if (found < 0) {
      puts("vectors.bin: ends early");
      return 2;
    }
    wrong += found;
  }
  for (int32_t i = 0; i < MODEL_OUTPUTS; ++i) {
    all += samples * (long)output_bytes[i];
  }
  fclose(file);
  const double each = samples > 0 ? 1e6 * (double)spent / CLOCKS_PER_SEC / (double)samples : 0.0;
  printf("%ld samples, %ld of %ld outputs differ, %.1f us each\n", samples, wrong, all, each);
  return wrong != 0;
}
