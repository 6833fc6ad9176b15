"""What a device needs to run a tailored model without a network, and to renew it safely when there is one.

    signing.py    Ed25519 keys; what is signed and how it is checked
    bundle.py     a revision as one signed folder: weights, settings, template, start script, manifest
    channel.py    where devices look for the newest bundle: a folder that any web server serves
    rings.py      which bundle is for whom: rings of devices, from a few to all
    staging.py    the owner's side of rings: publish, promote, recall
    download.py   a bundle's files, resumed, within what the disk holds
    updater.py    verify, swap, go back
    trial.py      the engine and the known prompts are tried before a swap
    report.py     what a device says of itself, signed with its own key (identity.py)
    fleet.py      the reports of all devices, and whether a bundle may go to the next ring
    engine.py     a bundle's engine, started by the bundle's own script
    feedback.py   what users say, kept until it can be sent

Imports nothing of Sartor's, and of others only `cryptography`.
"""
