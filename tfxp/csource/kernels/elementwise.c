/* Operators on two tensors, element by element, and functions of one code. */
#include "tfxp_kernels.h"

void tfxp_add(const tfxp_sum *sum, int32_t size, int32_t period, const int8_t *a, const int8_t *b,
              int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    const int32_t total = sum->left * a[i] + sum->right * b[i % period] + sum->bias;
    output[i] = tfxp_clamp((total >> sum->shift) + sum->zero, sum->low, sum->high);
  }
}

void tfxp_multiply(const tfxp_product *product, int32_t size, int32_t period, const int8_t *a,
                   const int8_t *b, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    const int32_t exact = (a[i] - product->zero_a) * (b[i % period] - product->zero_b);
    tfxp_requantize(&product->requantizer, 1, 1, &exact, output + i);
  }
}

void tfxp_prelu(const tfxp_slopes *slopes, int32_t size, int32_t period, const int8_t *a,
                const int8_t *b, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    const int32_t value = a[i] - slopes->zero_a;
    const int32_t exact = value < 0 ? value * (b[i % period] - slopes->zero_b) : value;
    const tfxp_scale *by = value < 0 ? &slopes->below : &slopes->above;
    const int32_t steps = tfxp_round_twice(exact, by->multiplier, by->shift, 0);
    output[i] = tfxp_clamp(steps + slopes->zero, INT8_MIN, INT8_MAX);
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
