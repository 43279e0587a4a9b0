"""`attar app`: an exported file as an installable web page that answers on the phone, without a network.

- `choose`: which files go along
- `model`: what the page needs of a model, as data
- `releases`: where it updates itself from, and whom it trusts
- `site`: the folder that any static host serves
- `icons`: its icons
- `serve`: a server of that folder, for phones nearby
- `page/`: what the browser loads
"""
