/* Masks of bytes, written once in terms of the operations of simd_helpers.h. The including file
 * includes simd_<level>.h first. */

KERNEL void kernel_byte_masks(tlmi_byte_masks_t *out, const uint8_t *bytes)
{
    *out = (tlmi_byte_masks_t){0};
    for (int i = 0; i < TLMI_MASK_BYTES; i += BYTES) {
        B b = b_load(bytes + i);
        uint64_t blank = b_equal(b, ' ');
        out->upper |= b_between(b, 'A', 'Z') << i;
        out->lower |= b_between(b, 'a', 'z') << i;
        out->number |= b_between(b, '0', '9') << i;
        out->blank |= blank << i;
        out->space |= (b_between(b, '\t', '\r') | blank) << i;
        out->newline |= (b_equal(b, '\n') | b_equal(b, '\r')) << i;
        out->apostrophe |= b_equal(b, '\'') << i;
        out->slash |= b_equal(b, '/') << i;
        out->wide |= b_high(b) << i;
    }
}
