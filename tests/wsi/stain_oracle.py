"""Macenko and Reinhard in numpy, written from the papers: what test_colour compares with.

stain_oracle.py METHOD PIXELS REFERENCE OUT: PIXELS is a file of RGB bytes, REFERENCE numbers with commas.
Prints the estimated parameters; writes the normalised pixels to OUT as doubles, not rounded and not cut off."""
import sys
import numpy as np

method, pixels, reference, out = sys.argv[1:5]
rgb = np.fromfile(pixels, np.uint8).reshape(-1, 3).astype(float)
reference = np.array([float(v) for v in reference.split(",")])

if method == "macenko":
    density = -np.log((rgb + 1) / 240)
    dense = density[(density >= 0.15).all(axis=1)]
    values, vectors = np.linalg.eigh(np.cov(dense.T))  # rising eigenvalues
    plane = vectors[:, 1:]
    if plane[:, 1].sum() < 0:
        plane[:, 1] *= -1
    in_plane = dense @ plane
    angle = np.arctan2(in_plane[:, 1], in_plane[:, 0])
    ends = np.percentile(angle, [1, 99])
    stains = [plane @ [np.cos(a), np.sin(a)] for a in ends]
    stains.sort(key=lambda s: -s[0])
    stains = np.array(stains).T
    amounts = np.linalg.lstsq(stains, density.T, rcond=None)[0]
    strength = np.percentile(amounts, 99, axis=1)
    found = np.concatenate([stains[:, 0], stains[:, 1], strength])
    amounts *= (reference[6:] / strength)[:, None]
    result = 240 * np.exp(-np.array([reference[:3], reference[3:6]]).T @ amounts).T
else:
    to_lms = np.array([[.3811, .5783, .0402], [.1967, .7244, .0782], [.0241, .1288, .8444]])
    to_lab = np.diag(1 / np.sqrt([3, 6, 2])) @ [[1, 1, 1], [1, 1, -2], [1, -1, 0]]
    lab = np.log((rgb + 1) @ to_lms.T) @ to_lab.T
    found = np.concatenate([lab.mean(axis=0), lab.std(axis=0)])
    lab = (lab - found[:3]) / found[3:] * reference[3:] + reference[:3]
    result = np.exp(lab @ np.linalg.inv(to_lab).T) @ np.linalg.inv(to_lms).T - 1

print(",".join(repr(float(v)) for v in found))
result.astype("<f8").tofile(out)
