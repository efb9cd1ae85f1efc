/* From sums to codes: roundings by shifts, with and without a multiplier. */
#include "tfxp_kernels.h"

static int32_t limited(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : value > high ? high : value;
}

int8_t tfxp_clamp(int32_t code, int32_t low, int32_t high) {
  return (int8_t)limited(code, low, high);
}

/* value * 2^left within 32 bits. Codes are below 2^9, so what is larger need not be exact. */
static int32_t shift_left(int32_t value, int32_t left) {
  const int32_t near = value < -512 ? -512 : value > 512 ? 512 : value;
  return near * ((int32_t)1 << (left > 20 ? 20 : left));
}

int32_t tfxp_round_half_up(int32_t value, int32_t shift) {
  if (shift <= 0) {
    return shift_left(value, -shift);
  }
  return shift > 31 ? 0 : (value >> shift) + ((value >> (shift - 1)) & 1);
}

int32_t tfxp_round_half_even(int32_t value, int32_t shift) {
  if (shift <= 0) {
    return shift_left(value, -shift);
  }
  if (shift > 31) {
    return 0;
  }
  const int32_t floor = value >> shift;
  const uint32_t mask = ((uint32_t)1 << shift) - 1u;
  const uint32_t rest = (uint32_t)value & mask;
  const uint32_t half = (uint32_t)1 << (shift - 1);
  return floor + (rest > half || (rest == half && (floor & 1)));
}

/* The same for a positive number of up to 56 bits. */
static int64_t round_wide(int64_t value, int32_t shift) {
  if (shift <= 0 || shift > 62) {
    return shift <= 0 ? value : 0;
  }
  const int64_t floor = value >> shift;
  const int64_t rest = value - (floor << shift);
  const int64_t half = (int64_t)1 << (shift - 1);
  return floor + (rest > half || (rest == half && (floor & 1)));
}

/* Bits beyond the 24 that a float32 number holds. */
static int32_t spare_bits(int64_t value) {
  int32_t spare = 0;
  while ((value >> spare) >= (int64_t)1 << 24) {
    ++spare;
  }
  return spare;
}

/* What float32 arithmetic makes of sum * multiplier * 2^-shift, rounded to an integer. */
static int32_t round_as_float32(int32_t sum, int32_t multiplier, int32_t shift) {
  int64_t size = sum < 0 ? -(int64_t)sum : sum;
  int32_t spare = spare_bits(size);
  size = round_wide(size, spare) * multiplier; /* float32(sum), exact product of 24 bits each */
  shift -= spare;
  spare = spare_bits(size);
  size = round_wide(size, spare); /* float32(product) */
  shift -= spare;
  if (shift < 0) { /* beyond all codes, or exact */
    size = size < 512 ? size << (shift < -20 ? 20 : -shift) : 512;
  } else {
    size = round_wide(size, shift);
  }
  const int32_t near = size > 512 ? 512 : (int32_t)size;
  return sum < 0 ? -near : near;
}

int32_t tfxp_round_twice(int32_t value, int32_t multiplier, int32_t shift, int half_up) {
  const int32_t left = shift < 0 ? -shift : 0;
  const int64_t shifted = left > 31 ? 0 : (int32_t)((uint32_t)value << left); /* wraps at 32 bits */
  const int64_t high = (shifted * multiplier + ((int64_t)1 << 30)) >> 31;
  const int32_t right = shift > 0 ? (shift > 40 ? 40 : shift) : 0;
  const int64_t half = ((int64_t)1 << right) >> 1;
  if (half_up || high >= 0) {
    return (int32_t)((high + half) >> right);
  }
  return (int32_t) - ((-high + half) >> right);
}

/* A sum as a whole number of output steps. */
static int32_t steps_of(const tfxp_requantizer *to, int32_t channel, int32_t sum) {
  const int32_t place = to->count > 1 ? channel : 0;
  const int32_t shift = to->shifts[place];
  switch (to->rounding) {
    case TFXP_HALF_UP:
      return tfxp_round_half_up(sum, shift);
    case TFXP_HALF_EVEN:
      return tfxp_round_half_even(sum, shift);
    case TFXP_FLOAT32:
      return round_as_float32(sum, to->multipliers[place], shift);
    default:
      return tfxp_round_twice(sum, to->multipliers[place], shift, channel < to->ups);
  }
}

void tfxp_requantize(const tfxp_requantizer *to, int32_t pixels, int32_t channels,
                     const int32_t *sums, int8_t *output) {
  const int32_t zero = to->zero, low = to->low - zero, high = to->high - zero;
  for (int32_t p = 0; p < pixels; ++p) {
    for (int32_t c = 0; c < channels; ++c) {
      *output++ = (int8_t)(limited(steps_of(to, c, *sums++), low, high) + zero);
    }
  }
}
