/* Codes of few bits. */
#include "tfxp_kernels.h"

/* Two's complement of four bits. */
static int32_t signed_half(int32_t half) { return (half ^ 8) - 8; }

/* Codes of four bits, two to a byte, from an even number on. */
static void unpack_halves(const uint8_t *bytes, int32_t factor, int32_t count, int16_t *codes) {
  for (int32_t i = 0; i + 1 < count; i += 2, ++bytes) {
    codes[i] = (int16_t)(signed_half(*bytes & 15) * factor);
    codes[i + 1] = (int16_t)(signed_half(*bytes >> 4) * factor);
  }
  if (count % 2 != 0) {
    codes[count - 1] = (int16_t)(signed_half(*bytes & 15) * factor);
  }
}

void tfxp_unpack(tfxp_packed packed, uint32_t first, int32_t count, int16_t *codes) {
  if (packed.bits == 0) {
    for (int32_t i = 0; i < count; ++i) {
      codes[i] = (int16_t)packed.factor;
    }
    return;
  }
  if (packed.bits == 4 && first % 2 == 0) {
    unpack_halves(packed.codes + first / 2, packed.factor, count, codes);
    return;
  }
  const uint32_t sign = (uint32_t)1 << (packed.bits - 1);
  const uint32_t mask = sign | (sign - 1u);
  uint32_t at = first * (uint32_t)packed.bits;
  for (int32_t i = 0; i < count; ++i) {
    const uint8_t *byte = packed.codes + (at >> 3);
    const uint32_t two = (uint32_t)byte[0] | ((uint32_t)byte[1] << 8);
    const uint32_t code = (two >> (at & 7u)) & mask;
    codes[i] = (int16_t)(((int32_t)(code ^ sign) - (int32_t)sign) * packed.factor);
    at += (uint32_t)packed.bits;
  }
}
