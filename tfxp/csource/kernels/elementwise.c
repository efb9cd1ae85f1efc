/* Operators on two tensors, element by element, and functions of one code. */
#include "tfxp_kernels.h"

static int8_t clamp(int32_t code, int32_t low, int32_t high) {
  return (int8_t)(code < low ? low : code > high ? high : code);
}

void tfxp_add(const tfxp_sum *sum, int32_t size, int32_t period, const int8_t *a, const int8_t *b,
              int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    const int32_t total =
        sum->left * (a[i] - sum->zero_a) + sum->right * (b[i % period] - sum->zero_b);
    output[i] = clamp(tfxp_round_half_up(total, sum->shift) + sum->zero, sum->low, sum->high);
  }
}

void tfxp_multiply(const tfxp_product *product, int32_t size, int32_t period, const int8_t *a,
                   const int8_t *b, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    const int32_t exact = (a[i] - product->zero_a) * (b[i % period] - product->zero_b);
    const int32_t code = tfxp_round_half_even(exact, product->shift) + product->zero;
    output[i] = clamp(code, product->low, product->high);
  }
}

void tfxp_maximum(int32_t size, int32_t period, const int8_t *a, const int8_t *b, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    output[i] = a[i] > b[i % period] ? a[i] : b[i % period];
  }
}

void tfxp_minimum(int32_t size, int32_t period, const int8_t *a, const int8_t *b, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    output[i] = a[i] < b[i % period] ? a[i] : b[i % period];
  }
}

void tfxp_look_up(const int8_t table[256], int32_t size, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    output[i] = table[input[i] + 128];
  }
}
