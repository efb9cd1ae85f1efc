/* Softmax: float32 arithmetic in integers, because the file's engine adds and divides in float32.
 *
 * A number is mantissa * 2^exponent; mantissas have 24 bits, all numbers are positive or zero.
 */
#include "tfxp_kernels.h"

typedef struct {
  uint32_t mantissa;
  int32_t exponent;
} number;

static number from_bits(uint32_t bits) {
  const number zero = {0, 0};
  const number value = {(bits & 0x7fffffu) | 0x800000u, (int32_t)(bits >> 23) - 150};
  return bits == 0 ? zero : value;
}

/* The nearest number to whole * 2^exponent, ties to even. `below` says that something is left out
 * under the last bit. */
static number rounded(uint64_t whole, int32_t exponent, int below) {
  int32_t spare = 0;
  while ((whole >> spare) >= (uint64_t)1 << 24) {
    ++spare;
  }
  uint64_t mantissa = whole >> spare;
  if (spare > 0) {
    const uint64_t rest = whole & (((uint64_t)1 << spare) - 1u), half = (uint64_t)1 << (spare - 1);
    const int odd = (int)(mantissa & 1u);
    mantissa += rest > half || (rest == half && (below || odd));
  }
  if (mantissa == (uint64_t)1 << 24) {
    mantissa >>= 1;
    ++spare;
  }
  const number result = {(uint32_t)mantissa, exponent + spare};
  return result;
}

static number add(number a, number b) {
  if (a.mantissa == 0 || (b.mantissa != 0 && b.exponent > a.exponent)) {
    const number swap = a;
    a = b;
    b = swap;
  }
  const int32_t apart = a.exponent - b.exponent;
  if (b.mantissa == 0 || apart > 32) {
    return a; /* less than a quarter of the last bit */
  }
  return rounded(((uint64_t)a.mantissa << apart) + b.mantissa, b.exponent, 0);
}

static number reciprocal(number a) {
  const uint64_t one = (uint64_t)1 << 50;
  return rounded(one / a.mantissa, -50 - a.exponent, one % a.mantissa != 0);
}

/* The whole number nearest to a, halves up. */
static int32_t nearest(number a) {
  if (a.exponent >= 0 || a.exponent < -30) {
    return a.exponent >= 0 ? (int32_t)a.mantissa : 0;
  }
  return (int32_t)((a.mantissa + ((uint32_t)1 << (-a.exponent - 1))) >> -a.exponent);
}

void tfxp_softmax(const uint32_t exponentials[256], int32_t rows, int32_t classes,
                  const int8_t *input, int8_t *output) {
  for (int32_t r = 0; r < rows; ++r, input += classes, output += classes) {
    int32_t largest = INT8_MIN;
    for (int32_t c = 0; c < classes; ++c) {
      largest = input[c] > largest ? input[c] : largest;
    }
    number total = {0, 0};
    for (int32_t c = 0; c < classes; ++c) {
      total = add(total, from_bits(exponentials[largest - input[c]]));
    }
    total.exponent -= 8; /* an output step is 2^-8 */
    const number factor = reciprocal(total);
    for (int32_t c = 0; c < classes; ++c) {
      const number e = from_bits(exponentials[largest - input[c]]);
      const uint64_t product = (uint64_t)e.mantissa * factor.mantissa;
      const int32_t steps = nearest(rounded(product, e.exponent + factor.exponent, 0));
      output[c] = tfxp_clamp(steps - 128, INT8_MIN, INT8_MAX);
    }
  }
}
