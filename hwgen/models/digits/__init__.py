"""A small network that reads handwritten digits: the demo.

The model and ``samples.npz`` (digits it has not seen) are what :mod:`.train` wrote. Data: UCI "Optical Recognition of
Handwritten Digits" (Alpaydin and Kaynak, CC BY 4.0) by way of scikit-learn.
"""
