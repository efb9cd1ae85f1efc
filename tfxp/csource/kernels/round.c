/* Rounding by shifts, and codes of few bits. */
#include "tfxp_kernels.h"

int32_t tfxp_round_half_even(int32_t value, int32_t shift) {
  if (shift <= 0) {
    return value * ((int32_t)1 << -shift);
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

int32_t tfxp_round_half_up(int32_t value, int32_t shift) {
  if (shift <= 0) {
    return value * ((int32_t)1 << -shift);
  }
  if (shift > 31) {
    return 0;
  }
  return (value >> shift) + ((value >> (shift - 1)) & 1);
}

int32_t tfxp_round_to_float32(int32_t value) {
  const uint32_t size = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
  int32_t lost = 0;
  while ((size >> lost) >= (uint32_t)1 << 24) {
    ++lost;
  }
  if (lost == 0) {
    return value;
  }
  const int32_t rounded = tfxp_round_half_even(value, lost);
  const int64_t whole = (int64_t)rounded * ((int64_t)1 << lost);
  return whole > INT32_MAX ? INT32_MAX : (int32_t)whole;
}

void tfxp_unpack(tfxp_packed packed, uint32_t first, int32_t count, int8_t *codes) {
  const uint32_t sign = (uint32_t)1 << (packed.bits - 1);
  const uint32_t mask = sign | (sign - 1u);
  uint32_t at = first * (uint32_t)packed.bits;
  for (int32_t i = 0; i < count; ++i) {
    const uint8_t *byte = packed.codes + (at >> 3);
    const uint32_t two = (uint32_t)byte[0] | ((uint32_t)byte[1] << 8);
    const uint32_t code = (two >> (at & 7u)) & mask;
    codes[i] = (int8_t)(((int32_t)(code ^ sign) - (int32_t)sign) * packed.factor);
    at += (uint32_t)packed.bits;
  }
}
