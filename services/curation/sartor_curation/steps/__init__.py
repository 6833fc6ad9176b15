"""What curation is for: one step a file, each a pure function from items to an Outcome with counted reasons.

    normalisation.py     Unicode, mojibake, markup           exact_duplicates.py  the same twice
    boilerplate.py       headers, footers, menus             near_duplicates.py   nearly the same twice
    missing_fields.py    nothing to learn from
    personal_data.py     placeholders for persons' data      instructions.py      labelled texts become chats
    languages.py         only the wanted languages           lengths.py           characters and tokens
    contradictions.py    one question, different answers     splits.py            train, validation, test:
    for life
                                                             leakage.py           held-out questions in
                                                             training

`item.py` says what goes through, `outcome.py` what comes out, `questions.py` when two questions are one.
"""
