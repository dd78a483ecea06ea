/* The calls of the kernels that count pretokens, for checkkernels.c alone. One makes keys and counts
 * them: their results belong together. */
static const double tolerance_pretoken_keys = EXACT, tolerance_count_keys = EXACT;
static void call_pretoken_keys(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    _Alignas(64) tlmi_pretoken_bucket_t buckets[4], *homes[MOST];
    tlmi_pretoken_count_key_t keys[MOST] = {0};
    size_t cuts[MOST + 1] = {0}, rounded = (size_t)n / 8 * 8;
    uint8_t bits[2][MOST / 8];
    for (size_t i = 0; i < MOST; i++)
        cuts[i + 1] = cuts[i] + (d->bytes[i] == 9 ? 16 : d->bytes[i] / 32u);
    k->pretoken_keys(keys, homes, bits[0], d->bytes, cuts, rounded, buckets, 4);
    for (size_t i = 0; i < 4; i++)
        buckets[i] = (tlmi_pretoken_bucket_t){.keys = {keys[(size_t)n / 3 + i]}};
    k->count_keys(bits[1], homes, keys, rounded);
    for (size_t i = 0; i < rounded; i++) {
        unsigned is_long = bits[0][i / 8] >> i % 8 & 1, is_missed = bits[1][i / 8] >> i % 8 & 1;
        if (is_long)
            homes[i]->counts[0]--; /* its home is any bucket */
        d->masks.lower = d->masks.lower * 31 + keys[i].words[0] + keys[i].words[1] * 7 +
                         (is_long ? 3 : is_missed);
    }
    d->masks.upper = buckets[n % 4].counts[0];
}
#define call_count_keys call_pretoken_keys
