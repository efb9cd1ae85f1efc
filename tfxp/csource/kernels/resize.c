/* Enlargement with weights. */
#include "tfxp_kernels.h"

void tfxp_resize_bilinear(const tfxp_enlargement *layer, const int8_t *input, int8_t *output) {
  const int32_t channels = layer->input.channels, pitch = layer->input.width * channels;
  for (int32_t y = 0; y < layer->output.height; ++y) {
    const int16_t *row = layer->rows + 3 * y;
    for (int32_t x = 0; x < layer->output.width; ++x) {
      const int16_t *column = layer->columns + 3 * x;
      const int32_t left = column[0] * channels, right = column[1] * channels;
      for (int32_t c = 0; c < channels; ++c) {
        const int8_t *above = input + row[0] * pitch + c, *below = input + row[1] * pitch + c;
        const int32_t top = above[left] * 2048 + (above[right] - above[left]) * column[2];
        const int32_t bottom = below[left] * 2048 + (below[right] - below[left]) * column[2];
        *output++ = (int8_t)((top * 2048 + (bottom - top) * row[2] + (1 << 21)) >> 22);
      }
    }
  }
}
