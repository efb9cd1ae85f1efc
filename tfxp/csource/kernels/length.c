/* Rows divided by their lengths. */
#include "tfxp_kernels.h"

/* round(a * b * 2^-31), halves up. */
static int32_t high_product(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

static int32_t times_power(int32_t value, int32_t power) {
  return (int32_t)((uint32_t)value << power);
}

/* Half a number, halves away from zero. */
static int32_t half_of(int32_t value) { return value / 2 + value % 2; }

/* 1 / sqrt(value) = multiplier * 2^-31 * 2^-shift by five Newton-Raphson steps. */
static tfxp_scale inverse_root(int32_t value) {
  tfxp_scale result = {INT32_MAX, 0};
  if (value <= 1) {
    return result;
  }
  int32_t shift = 11;
  if (value >= 1 << 29) {
    value /= 4;
    ++shift;
  }
  while (value < 1 << 27) {
    value *= 4;
    --shift;
  }
  const int32_t half = half_of(value >> 1);
  int32_t x = 1 << 28;
  for (int i = 0; i < 5; ++i) {
    const int32_t cube = times_power(high_product(high_product(x, x), x), 6);
    const int32_t three_halves = (1 << 28) + (1 << 27);
    x = times_power(high_product(three_halves, x) - high_product(half, cube), 3);
  }
  result.multiplier = high_product(x, 1518500250) * ((int32_t)1 << (shift < 0 ? -shift : 0));
  result.shift = shift < 0 ? 0 : shift;
  return result;
}

void tfxp_divide_by_length(int32_t rows, int32_t depth, int32_t zero, const int8_t *input,
                           int8_t *output) {
  for (int32_t r = 0; r < rows; ++r, input += depth, output += depth) {
    int32_t squares = 0;
    for (int32_t i = 0; i < depth; ++i) {
      squares += (input[i] - zero) * (input[i] - zero);
    }
    const tfxp_scale by = inverse_root(squares);
    for (int32_t i = 0; i < depth; ++i) {
      const int32_t steps =
          tfxp_round_twice(input[i] - zero, by.multiplier, by.shift - 7, 0);
      output[i] = tfxp_clamp(steps, INT8_MIN, INT8_MAX);
    }
  }
}
