/* Products of matrices of activations. */
#include "tfxp_kernels.h"

void tfxp_multiply_matrices(const tfxp_matrices *layer, const int8_t *left, const int8_t *right,
                            int8_t *output, int32_t *sums) {
  const tfxp_strides *l = &layer->left, *r = &layer->right;
  for (int32_t b = 0; b < layer->batch; ++b) {
    for (int32_t y = 0; y < layer->rows; ++y) {
      for (int32_t u = 0; u < layer->units; ++u) {
        sums[u] = 0;
      }
      for (int32_t d = 0; d < layer->depth; ++d) {
        const int32_t value = left[b * l->matrix + y * l->row + d * l->column] - layer->left_zero;
        if (TFXP_SKIP_ZEROS && value == 0) {
          continue;
        }
        const int8_t *row = right + b * r->matrix + d * r->row;
        for (int32_t u = 0; u < layer->units; ++u) {
          sums[u] += value * (row[u * r->column] - layer->right_zero);
        }
      }
      tfxp_requantize(&layer->requantizer, 1, layer->units, sums, output);
      output += layer->units;
    }
  }
}
