"""Text work that more than one service needs: normalisation, personal data, language, near duplicates.

    normalise.py   Unicode, mojibake, white space          language.py   which language, or UNSURE
    markup.py      HTML tags and entities                   shingles.py   sets of hashed n-grams
    checksums.py   Luhn, ISO 7064 mod 97-10                 minhash.py    signatures, banding, verified pairs
    pii.py         e-mail, phone, IBAN, card                clusters.py   union-find
    pseudonyms.py  consistent placeholders

Nothing heavy is imported here: take what you need from its module.
"""
