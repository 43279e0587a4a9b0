"""The prior of place and season: where and when each label is met, learned from observations.

occurrences.py   read observations: labels with places and dates, from attar's, iNaturalist's or GBIF's columns
prior.py         the model: latitude, longitude and day of year -> how likely each label is met there and then
fit.py           train it on observations, and say how well it does in places that it has not seen
combine.py       how it changes a photo's answer
gain.py          fit that on photos, and say what place and season add to a model
files.py         a prior on disk
places.py        where and when a photo was taken: EXIF, or a table
located.py       a model's answers with a prior beside it
"""
