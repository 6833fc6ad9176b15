"""What a device needs to run a tailored model without a network, and to renew it safely when there is one.

    signing.py    Ed25519 keys; what is signed and how it is checked
    bundle.py     a revision as one signed folder: weights, settings, template, start script, manifest
    channel.py    where devices look for the newest bundle: a folder that any web server serves
    download.py   a bundle's files, resumed, within what the disk holds
    updater.py    verify, try, swap, go back
    engine.py     a bundle's engine, started by the bundle's own script
    feedback.py   what users say, kept until it can be sent

Imports nothing of Sartor's, and of others only `cryptography`.
"""
