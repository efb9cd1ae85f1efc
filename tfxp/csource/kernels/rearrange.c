/* Operators that move codes and compute nothing. */
#include "tfxp_kernels.h"

void tfxp_copy(int32_t size, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    output[i] = input[i];
  }
}

void tfxp_scatter_runs(int32_t runs, int32_t run, int32_t pitch, const int8_t *input,
                       int8_t *output) {
  for (int32_t i = 0; i < runs; ++i) {
    tfxp_copy(run, input + i * run, output + i * pitch);
  }
}

void tfxp_pad_image(tfxp_image input, tfxp_image output, int32_t top, int32_t left, int8_t fill,
                    const int8_t *input_codes, int8_t *output_codes) {
  const int32_t size = output.height * output.width * output.channels;
  const int32_t run = input.width * input.channels;
  for (int32_t i = 0; i < size; ++i) {
    output_codes[i] = fill;
  }
  for (int32_t y = 0; y < input.height; ++y) {
    const int32_t place = ((top + y) * output.width + left) * output.channels;
    tfxp_copy(run, input_codes + y * run, output_codes + place);
  }
}
